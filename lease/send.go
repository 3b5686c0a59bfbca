package lease

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/secret"
)

// wire methods; LIST is Vault's own.
const methodList = "LIST"

// send makes one HTTP request of req at path and reads the answer. Every error is a *failure.
func (s *Store) send(ctx context.Context, tok *secret.Token, req secret.Request, path string) (*answer, error) {
	body := any(req.Body)
	if req.Op == secret.Write && path != req.Path {
		body = map[string]any{"data": req.Body} // a write to KV v2 in the words of v1
	}
	method := map[secret.Op]string{secret.Read: http.MethodGet, secret.List: methodList, secret.Write: http.MethodPut}[req.Op]
	return s.exchange(ctx, tok, req, method, path, body)
}

// exchange sends and classifies. req names the request in errors.
func (s *Store) exchange(ctx context.Context, tok *secret.Token, req secret.Request, method, path string, body any) (a *answer, err error) {
	c := outgoing{
		method: method, path: strings.Trim(path, "/"), token: tok.ID.Reveal(),
		namespace: s.road.namespace(tok.Namespace, req.Namespace), query: params(req),
	}
	if method == http.MethodPut {
		if c.body, err = json.Marshal(body); err != nil {
			return nil, &failure{kind: refused, err: &AnswerError{Request: req.String(), Detail: "body cannot be written as JSON"}}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, s.patience())
	defer cancel()
	var sent atomic.Bool
	if req.Op == secret.Write { // only there it matters whether Vault may have seen it
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{
			GetConn:      func(string) { sent.Store(false) }, // a redirect: what was sent before did nothing
			WroteHeaders: func() { sent.Store(true) },
		})
	}

	start, status := s.now(), 0
	defer func() { s.cfg.Trace.request(req, status, s.now()-start, err) }()
	raw, err := s.road.send(ctx, c)
	if err != nil {
		return nil, s.refusal(tok, req, nil, err, sent.Load())
	}
	defer raw.Body.Close()
	raw.Body = http.MaxBytesReader(nil, raw.Body, maxAnswer)
	status = raw.StatusCode
	if s.cfg.OnUse != nil {
		s.cfg.OnUse(*tok, status)
	}
	resp := &api.Response{Response: raw}
	if status >= http.StatusMultipleChoices && status < http.StatusBadRequest {
		said := &AnswerError{Request: req.String(), Status: status, Detail: "redirected to another server again"}
		return nil, &failure{kind: transient, err: said}
	}
	if err := resp.Error(); err != nil {
		return nil, s.refusal(tok, req, resp, err, true)
	}
	a, err = readAnswer(resp.Header, resp.Body)
	if err == nil && a.data == nil && a.leaseID == "" && method != http.MethodPut {
		err = errEmpty
	}
	switch {
	case err == nil:
		return a, nil
	case errors.Is(err, errEmpty) && req.Op == secret.Write:
		return &answer{}, nil
	case errors.Is(err, errEmpty):
		return nil, missing(req, status, "")
	case errors.Is(err, errWrapped):
		return nil, &failure{kind: refused, err: &AnswerError{Request: req.String(), Status: status, Detail: err.Error()}}
	case !isJSON(resp.Header):
		return nil, notVault(req, resp, "")
	}
	return nil, classify(req, resp, err, true)
}

// refusal classifies err; a 404 that carries KV v2 metadata tells of a deleted version.
func (s *Store) refusal(tok *secret.Token, req secret.Request, resp *api.Response, err error, sent bool) *failure {
	f := classify(req, resp, err, sent)
	if f.kind == refused && tok.NumUses > 1 && strings.Contains(f.Error(), "token had one use left") {
		f.kind = badToken // it is used up for leases; the next login's is not
	}
	var said *AnswerError
	if resp == nil || resp.StatusCode != http.StatusNotFound || !errors.As(f.err, &said) {
		return f
	}
	if a, err := readAnswer(resp.Header, resp.Body); err == nil {
		if _, gone, ok := kv2(a.data); ok {
			said.Detail = gone
		}
	}
	return f
}

// patience bounds one request.
func (s *Store) patience() time.Duration {
	if s.road.timeout > 0 {
		return min(s.cfg.RequestTimeout, s.road.timeout)
	}
	return s.cfg.RequestTimeout
}

// params builds the query of req.
func params(req secret.Request) url.Values {
	if len(req.Query) == 0 && req.Version == 0 {
		return nil
	}
	p := make(url.Values, len(req.Query)+1)
	for k, v := range req.Query {
		p[k] = v
	}
	if req.Version != 0 {
		p.Set("version", strconv.Itoa(req.Version))
	}
	return p
}

// renew asks for more time for a lease and returns the time granted.
func (s *Store) renew(ctx context.Context, tok *secret.Token, req secret.Request, leaseID string, want time.Duration) (*answer, error) {
	body := map[string]any{"lease_id": leaseID}
	if want > 0 {
		body["increment"] = json.Number(strconv.FormatInt(int64(want/time.Second), 10))
	}
	name := secret.Request{Op: secret.Read, Path: req.Path, Namespace: req.Namespace} // renewing twice does no harm
	a, err := s.exchange(ctx, tok, name, http.MethodPut, "sys/leases/renew", body)
	var f *failure
	if !errors.As(err, &f) {
		return a, err
	}
	f.err = fmt.Errorf("renew lease of %w", f.err)
	if f.kind != refused {
		return nil, f
	}
	f.kind = leaseGone
	if text := f.err.Error(); errors.Is(f, secret.ErrForbidden) || strings.Contains(text, "not renewable") {
		f.kind = notRenewable
	}
	return nil, f
}
