package proxy

import (
	"context"
	"crypto/rand"
	"crypto/subtle"
	"encoding/base64"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/envexec/envexec/secret"
)

// childMark begins every child token, so that a reader knows it for what it is.
const childMark = "envexec."

// NewChildToken makes a random bearer for Config.Child.
func NewChildToken() secret.Text {
	var b [32]byte
	_, _ = rand.Read(b[:]) // never fails
	return secret.NewText(childMark + base64.RawURLEncoding.EncodeToString(b[:]))
}

// session is the login whose token may be lent.
type session struct {
	current atomic.Pointer[secret.Token]
	first   chan struct{} // closed when current is set for the first time
	mu      sync.Mutex
	past    []*secret.Token // older ones that may still live, newest last
}

// pastTokens is how many earlier tokens are still recognised as the session's.
const pastTokens = 8

// set makes t the current token.
func (s *session) set(t secret.Token) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if old := s.current.Load(); old != nil {
		s.past = append(s.past, old)
		if len(s.past) > pastTokens {
			s.past = slices.Delete(s.past, 0, 1)
		}
	}
	if s.current.Swap(&t) == nil {
		close(s.first)
	}
}

// token returns the current one, waiting for the first login.
func (s *session) token(ctx context.Context) (*secret.Token, error) {
	if t := s.current.Load(); t != nil {
		return t, nil
	}
	select {
	case <-s.first:
		return s.current.Load(), nil
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	}
}

// owns returns the session's token with this id, nil when it is somebody else's.
func (s *session) owns(id string) *secret.Token {
	t := s.current.Load()
	if t == nil || id == "" {
		return nil
	}
	if same(t.ID.Reveal(), id) {
		return t
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, t := range s.past {
		if same(t.ID.Reveal(), id) {
			return t
		}
	}
	return nil
}

// all returns the current token and those before it.
func (s *session) all() []*secret.Token {
	s.mu.Lock()
	defer s.mu.Unlock()
	if t := s.current.Load(); t != nil {
		return append(slices.Clone(s.past), t)
	}
	return nil
}

// same compares secrets in constant time.
func same(a, b string) bool {
	return len(a) == len(b) && subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1
}
