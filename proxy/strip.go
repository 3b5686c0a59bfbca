package proxy

import (
	"bytes"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
)

// selfPaths answer with the token they are asked with.
var selfPaths = []string{"auth/token/lookup-self", "auth/token/renew-self", "auth/token/lookup", "auth/token/renew"}

// tells reports whether the answer to c would tell the session's own token.
func (p *Proxy) tells(c *call) bool {
	path := c.path
	i := strings.Index(path, "auth/token/")
	if i < 1 || path[i-1] != '/' {
		return false
	}
	path = strings.TrimSuffix(path[i:], "/")
	for _, self := range selfPaths {
		if path != self {
			continue
		}
		if strings.HasSuffix(self, "-self") {
			return c.own != nil
		}
		asked := askedToken(c.body, c.query)
		return asked == "" && c.own != nil || p.session.owns(asked) != nil
	}
	return false
}

// askedToken is the token a lookup or renew names, in JSON, as a form or in the
// query; "" = the caller's own.
func askedToken(body []byte, query string) string {
	var fields map[string]any
	_ = json.NewDecoder(bytes.NewReader(body)).Decode(&fields)
	if token, ok := fields["token"].(string); ok && token != "" {
		return token
	}
	form, _ := url.ParseQuery(string(body))
	if token := form.Get("token"); token != "" {
		return token
	}
	form, _ = url.ParseQuery(query)
	return form.Get("token")
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
