// Package foreign describes an answer that did not come from Vault's API: the web page of
// a wrong address, a load balancer's own words, a login page in between.
package foreign

import (
	"fmt"
	"mime"
	"net/http"
	"strings"
)

// Answer is such an answer as an error. It has nothing of the body, which may be
// anything, an echo of our request included.
type Answer struct {
	Server      string // scheme://host of what answered, after redirects; "" if unknown
	Status      int
	ContentType string // the media type; "" if there is none
	TLS         bool   // the server wants HTTPS and was spoken to in HTTP
}

// Of describes resp; body is what was read of it, nil if nothing.
func Of(resp *http.Response, body []byte) *Answer {
	a := &Answer{Status: resp.StatusCode}
	if r := resp.Request; r != nil && r.URL != nil && r.URL.Host != "" {
		a.Server = r.URL.Scheme + "://" + r.URL.Host
	}
	if kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type")); err == nil && len(kind) < 64 {
		a.ContentType = kind
	}
	text := string(body) // Go's own and nginx's words for it
	a.TLS = a.Status == http.StatusBadRequest && strings.Contains(text, "HTTP request") && strings.Contains(text, "HTTPS")
	return a
}

// Gateway reports whether a gateway said that it gets no answer from what is behind it.
func (a *Answer) Gateway() bool { return a.Status >= http.StatusInternalServerError }

// Error says what came instead of Vault's answer.
func (a *Answer) Error() string {
	who := a.Server
	if who == "" {
		who = "the server"
	}
	if a.TLS {
		return who + " speaks HTTPS, not HTTP"
	}
	kind := a.ContentType
	if kind == "" {
		kind = "no content type"
	}
	return fmt.Sprintf("%s answered with status %d and %s, which is not Vault's API", who, a.Status, kind)
}

// Unquoted is err without what package net/http quotes of an answer that it cannot read as
// HTTP: that may be anything, a token included. Other errors, nil too, are returned as they are.
func Unquoted(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	for _, mark := range []string{"malformed ", "bad Content-Length ", "unsupported transfer encoding", "invalid Transfer-Encoding", "sent GOAWAY"} {
		before, rest, found := strings.Cut(text, mark)
		if what, _, quoted := strings.Cut(rest, `"`); found && quoted {
			return unquoted{err, before + mark + strings.TrimRight(what, " :")}
		}
	}
	return err
}

type unquoted struct {
	error
	text string
}

func (u unquoted) Error() string { return u.text }
func (u unquoted) Unwrap() error { return u.error }
