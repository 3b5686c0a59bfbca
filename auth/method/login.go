package method

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/internal/foreign"
)

// Credentials is what a method implements besides Login when its credentials
// can change while the program runs. Both calls may come from another goroutine
// than Login, and neither may have a side effect: no file removed, nothing unwrapped.
type Credentials interface {
	// Fingerprint identifies the credentials the next Login would use, without
	// revealing them. "" means that there are none now.
	Fingerprint(ctx context.Context) (string, error)
	// Watch says where changes show: files, looked at as soon as they change, and
	// how often Fingerprint is asked besides. 0 = 10 s.
	Watch() (files []string, interval time.Duration)
}

// Consumer is what a method implements whose credentials a login may use up: a file
// that is removed, a wrapping token that answers once.
type Consumer interface {
	// Consumes reports whether a process that starts later finds no credentials.
	Consumes() bool
}

// Keys of the login answer that api.SecretAuth has no field for. Login keeps
// them in Secret.Data, which is empty in a login answer otherwise.
const (
	DataNumUses   = "num_uses"
	DataTokenType = "token_type"
)

const maxAnswer = 4 << 20

// Login sends body to path below /v1/ and returns the answer, which holds a
// token or, when the client asks for wrapping, wrap information. Other headers
// than the client's own can be given. One request, never repeated.
func Login(ctx context.Context, client *api.Client, path string, body map[string]any, header ...http.Header) (*api.Secret, error) {
	s, err := Send(ctx, client, http.MethodPut, path, body, header...)
	if err != nil {
		return nil, err
	}
	if s == nil || (s.Auth == nil && s.WrapInfo == nil) {
		return nil, fmt.Errorf("log in at %q: the answer holds no token", path)
	}
	if s.Auth != nil && s.Auth.ClientToken == "" {
		if s.Auth.MFARequirement != nil {
			return nil, &CredentialError{What: "second factor", Err: errors.New("this login needs MFA, which no method here can give")}
		}
		return nil, fmt.Errorf("log in at %q: the answer holds no token", path)
	}
	return s, nil
}

// Send makes one request to path below /v1/ with the client's token and returns
// the parsed answer; nil when it has no body.
func Send(ctx context.Context, client *api.Client, verb, path string, body map[string]any, header ...http.Header) (*api.Secret, error) {
	req := client.NewRequest(verb, "/v1/"+strings.Trim(path, "/"))
	for _, h := range header {
		for k, v := range h {
			req.Headers[k] = v
		}
	}
	if body != nil {
		if err := req.SetJSONBody(body); err != nil {
			return nil, errors.New("encode the request: a value has no JSON form")
		}
	}
	resp, err := client.RawRequestWithContext(ctx, req) //nolint:staticcheck // the Logical calls drop num_uses and Retry-After
	if resp != nil && resp.Body != nil {
		defer func() { _ = resp.Body.Close() }()
	}
	if err != nil {
		scrub(err, body, req.ClientToken)
		return nil, complete(err, resp)
	}
	raw, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("read the answer of %q: %w", path, err)
	}
	if len(raw) == 0 {
		return nil, nil
	}
	s, err := parse(raw)
	if err != nil { // the cause may quote the answer, which may be a secret
		return nil, foreign.Of(resp.Response, raw)
	}
	return s, nil
}

func parse(raw []byte) (*api.Secret, error) {
	s, err := api.ParseSecret(bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	if s == nil || s.Auth == nil {
		return s, nil
	}
	var more struct {
		Auth map[string]json.RawMessage `json:"auth"`
	}
	if json.Unmarshal(raw, &more) != nil {
		return s, nil //nolint:nilerr // what it would add is absent then
	}
	if s.Data == nil {
		s.Data = map[string]any{}
	}
	var uses int
	if json.Unmarshal(more.Auth[DataNumUses], &uses) == nil {
		s.Data[DataNumUses] = uses
	}
	var kind string
	if json.Unmarshal(more.Auth[DataTokenType], &kind) == nil {
		s.Data[DataTokenType] = kind
	}
	return s, nil
}

// public are the keys of a login's body that are no secret.
var public = []string{"role", "name", "username", "iam_http_request_method"}

// scrub takes what we sent out of Vault's messages: a server or a proxy in
// between may echo it.
func scrub(err error, body map[string]any, token string) {
	var re *api.ResponseError
	if !errors.As(err, &re) {
		return
	}
	hide := func(s string) {
		if len(s) < 6 {
			return
		}
		for i := range re.Errors {
			re.Errors[i] = strings.ReplaceAll(re.Errors[i], s, "[secret]")
		}
	}
	hide(token)
	for k, v := range body {
		if s, ok := v.(string); ok && !slices.Contains(public, k) {
			hide(s)
		}
	}
}

// complete adds to a refusal what the answer said besides.
func complete(err error, resp *api.Response) error {
	var re *api.ResponseError
	if resp == nil || !errors.As(err, &re) {
		return err
	}
	out := &ResponseError{ResponseError: re}
	if re.RawError {
		out.Foreign = foreign.Of(resp.Response, []byte(strings.Join(re.Errors, "\n")))
	}
	if n, aerr := strconv.Atoi(resp.Header.Get("Retry-After")); aerr == nil && n > 0 && n < 3600 {
		out.RetryAfter = time.Duration(n) * time.Second
	}
	return out
}

// Lookup asks Vault about a token with that token (lookup-self). An answer's
// Data has at least "id". A token that may not look itself up is given back
// with nothing but its id: only Vault's "invalid token" means that it is bad. So is one
// that a proxy exchanges for its own, which it does not tell (and keeps alive itself).
func Lookup(ctx context.Context, client *api.Client, token string) (*api.Secret, error) {
	c := client.WithNamespace(client.Namespace()) // a copy: the caller's client keeps its token
	c.SetToken(token)
	s, err := Send(ctx, c, http.MethodGet, "auth/token/lookup-self", nil)
	var re *api.ResponseError
	if errors.As(err, &re) && re.StatusCode == http.StatusForbidden && !InvalidToken(err) {
		return &api.Secret{Data: map[string]any{"id": token}}, nil
	}
	if err != nil {
		return nil, err
	}
	switch {
	case s != nil && s.Data["id"] != nil:
		return s, nil
	case s != nil && s.Data["policies"] != nil:
		return &api.Secret{Data: map[string]any{"id": token}}, nil
	}
	return nil, errors.New("look the token up: the answer says nothing about it")
}

// InvalidToken reports whether err is Vault's 403 for a token that does not
// exist (any more). Every other 403 is a missing right.
func InvalidToken(err error) bool {
	var re *api.ResponseError
	if !errors.As(err, &re) || re.StatusCode != http.StatusForbidden || re.RawError {
		return false
	}
	for _, s := range re.Errors {
		if strings.Contains(s, "invalid token") {
			return true
		}
	}
	return false
}
