package proxy

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
)

// selfPaths answer with the token they are asked with.
var selfPaths = []string{"auth/token/lookup-self", "auth/token/renew-self", "auth/token/lookup", "auth/token/renew"}

// tells reports whether the answer to c may tell the session's own token.
func (p *Proxy) tells(c *call) bool {
	path := c.path
	i := strings.Index(path, "auth/token/")
	if i < 1 || path[i-1] != '/' {
		return false
	}
	path = strings.TrimSuffix(path[i:], "/")
	switch {
	case !slices.Contains(selfPaths, path):
		return false
	case strings.HasSuffix(path, "-self"):
		return c.own != nil
	}
	asked := readToken(c)
	if c.own != nil && asked.certain == "" {
		return true // about the caller's own, for all we know
	}
	return slices.ContainsFunc(asked.possible, func(t string) bool { return p.session.owns(t) != nil })
}

// asked is which token a lookup or renew names.
type asked struct {
	certain  string   // as Vault certainly reads it; "" = none, or who knows
	possible []string // as anybody might read it
}

func readToken(c *call) (a asked) {
	var fields map[string]any
	_ = json.NewDecoder(bytes.NewReader(c.body)).Decode(&fields)
	inJSON, _ := fields["token"].(string)
	body, _ := url.ParseQuery(string(c.body))
	query, _ := url.ParseQuery(c.query)
	inForm, inQuery := body.Get("token"), query.Get("token")
	a.possible = []string{inJSON, inForm, inQuery}
	switch { // Vault looks at the first bytes of what calls itself a form, and at a query only without a body
	case len(c.body) == 0:
		if c.method == http.MethodGet {
			a.certain = inQuery
		}
	case c.body[0] == '{' || !c.form:
		a.certain = inJSON
	case !strings.ContainsRune(" \t\r\n[", rune(c.body[0])):
		a.certain = inForm
	}
	return a
}

// guardSelf refuses what would tell the session's token by a way strip cannot see.
func (p *Proxy) guardSelf(r *http.Request, c *call) error {
	if !p.cfg.AutoAuth || !strings.Contains(c.path, "auth/token/") {
		return nil
	}
	if !c.kept && (strings.Contains(c.path, "auth/token/lookup") || strings.Contains(c.path, "auth/token/renew")) {
		return &refusal{http.StatusRequestEntityTooLarge, "request body is too large"}
	}
	if len(r.Header[headerWrapTTL]) > 0 && p.tells(c) {
		return &refusal{http.StatusForbidden, "permission denied: the session's own token is not handed out wrapped"}
	}
	return nil
}

// strip takes the session's token out of an answer that tells it.
func (p *Proxy) strip(resp *http.Response, c *call) error {
	if !p.tells(c) {
		return nil
	}
	body, whole := peek(resp, 1<<20)
	stripped, err := withoutToken(body)
	if !whole || err != nil {
		return &refusal{http.StatusBadGateway, "vault's answer about its token cannot be read"}
	}
	resp.Body = io.NopCloser(bytes.NewReader(stripped))
	resp.ContentLength = int64(len(stripped))
	resp.Header.Set("Content-Length", strconv.Itoa(len(stripped)))
	resp.TransferEncoding = nil
	return nil
}

// withoutToken removes data.id and data.accessor and blanks auth.client_token and auth.accessor.
func withoutToken(body []byte) ([]byte, error) {
	var answer map[string]json.RawMessage
	if err := json.Unmarshal(body, &answer); err != nil {
		return nil, err
	}
	edit := func(field string, change func(map[string]json.RawMessage)) error {
		var inner map[string]json.RawMessage
		if err := json.Unmarshal(answer[field], &inner); err != nil || inner == nil {
			return err
		}
		change(inner)
		out, err := json.Marshal(inner)
		answer[field] = out
		return err
	}
	if len(answer["data"]) > 0 {
		if err := edit("data", func(m map[string]json.RawMessage) { delete(m, "id"); delete(m, "accessor") }); err != nil {
			return nil, err
		}
	}
	if len(answer["auth"]) > 0 {
		blank := json.RawMessage(`""`)
		if err := edit("auth", func(m map[string]json.RawMessage) { m["client_token"], m["accessor"] = blank, blank }); err != nil {
			return nil, err
		}
	}
	out, err := json.Marshal(answer)
	return append(out, '\n'), err
}
