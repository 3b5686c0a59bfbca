package sink

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/auth/method"
	"github.com/envexec/envexec/secret"
)

// Config is one sink: a file, and what is done to the token before it is written.
type Config struct {
	File FileConfig
	// WrapTTL above zero writes the token response-wrapped: the wrap information as JSON. Client is needed for it.
	WrapTTL time.Duration
	Client  *api.Client // reaches Vault; its token is not used
	DH      *DH         // encrypts what is written; nil = not
}

// Sink writes tokens as its Config says. It is an auth.Sink.
type Sink struct {
	cfg  Config
	file *File
}

// New checks c and writes nothing: see Check.
func New(c Config) (*Sink, error) {
	file, err := NewFile(c.File)
	if err != nil {
		return nil, err
	}
	if c.WrapTTL > 0 && c.Client == nil {
		return nil, errors.New("file sink: wrapping needs a client")
	}
	if c.DH != nil && c.DH.PublicKeyPath == "" {
		return nil, errors.New("file sink: dh_path and dh_type must be given together")
	}
	return &Sink{cfg: c, file: file}, nil
}

// Check finds out whether the file can be written, as File.Check does, and encrypted, as DH.Check does.
func (s *Sink) Check() error {
	if s.cfg.DH != nil {
		if err := s.cfg.DH.Check(); err != nil {
			return err
		}
	}
	return s.file.Check()
}

// WriteToken writes t. A wrapped or encrypted token is made anew at each call.
func (s *Sink) WriteToken(ctx context.Context, t secret.Token) error {
	content := []byte(t.ID.Reveal())
	if s.cfg.WrapTTL > 0 {
		info, err := s.wrap(ctx, t)
		if err != nil {
			return err
		}
		content = info
	}
	if s.cfg.DH != nil {
		sealed, err := s.cfg.DH.Encrypt(content)
		if err != nil {
			return err
		}
		content = sealed
	}
	return s.file.Write(ctx, content)
}

// Stale implements auth.Refresher: the reader has another key than the one last written for.
func (s *Sink) Stale() bool { return s.cfg.DH != nil && s.cfg.DH.changed() }

// wrap has Vault wrap the token with that token's own right, and returns the wrap information.
func (s *Sink) wrap(ctx context.Context, t secret.Token) ([]byte, error) {
	c := s.cfg.Client.WithNamespace(t.Namespace) // a copy
	c.SetToken(t.ID.Reveal())
	c.SetWrappingLookupFunc(func(string, string) string { return s.cfg.WrapTTL.String() })
	answer, err := method.Send(ctx, c, http.MethodPut, "sys/wrapping/wrap", map[string]any{"token": t.ID.Reveal()})
	if err != nil {
		return nil, fmt.Errorf("wrap the token for its sink: %w", err)
	}
	if answer == nil || answer.WrapInfo == nil || answer.WrapInfo.Token == "" {
		return nil, errors.New("wrap the token for its sink: the answer is not wrapped")
	}
	return json.Marshal(answer.WrapInfo)
}
