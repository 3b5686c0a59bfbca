package shared

import (
	"net/http"
	"strings"

	"github.com/envexec/envexec/secret"
)

// Request is what the Cache needs to know of a client's request.
type Request struct {
	Method      string
	Path        string // decoded, as /v1/secret/data/app
	RawPath     string // as the client wrote it
	Query       string // raw
	Namespace   string // of the header, without slashes at its ends
	ContentType string
	Body        []byte // whole; nil = none
	Token       string // the caller's, as Vault will see it; "" = none

	// Session is the token when it is the session's own: what is known of it.
	Session *secret.Token
	// AtMost is the longest body Serve may give, in bytes; 0 = any.
	AtMost int
	// Fresh: the client wants Vault's own answer, not a kept one.
	Fresh bool
}

// class says what may become of a request's answer.
type class uint8

const (
	opaque   class = iota // nothing is kept
	reading               // a lease or a KV secret
	creating              // a token
	login                 // a token, told to whoever proves who he is
)

// classify looks at method and path only.
func classify(r *Request) class {
	path, ok := strings.CutPrefix(r.Path, "/v1/")
	if !ok || !plain(path) {
		return opaque
	}
	switch r.Method {
	case http.MethodGet:
		first, _, _ := strings.Cut(path, "/")
		switch first {
		case "sys", "auth", "identity":
			return opaque
		}
		if _, own := cutSegments(path, "cubbyhole/"); own { // each token's own; older servers do not say so
			return opaque
		}
		if r.Token == "" || len(r.Body) > 0 {
			return opaque
		}
		return reading
	case http.MethodPost, http.MethodPut:
		below, ok := cutSegments(path, "auth/")
		if !ok {
			return opaque
		}
		if role, ok := strings.CutPrefix(below, "token/"); ok {
			name, _, _ := strings.Cut(role, "/")
			if (name == "create" || name == "create-orphan") && r.Token != "" {
				return creating
			}
			return opaque
		}
		if strings.HasSuffix(below, "/login") || strings.Contains(below, "/login/") {
			return login
		}
	}
	return opaque
}

// plain reports whether path has no empty, "." or ".." segment and no slash at its end.
func plain(path string) bool {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

// cutSegments returns what comes after mark (ending in a slash), which is at the beginning
// of path or after a slash: namespaces may stand before it.
func cutSegments(path, mark string) (after string, ok bool) {
	if after, ok = strings.CutPrefix(path, mark); ok {
		return after, true
	}
	_, after, ok = strings.Cut(path, "/"+mark)
	return after, ok
}

// full is the path with its namespace in front and without /v1/.
func (r *Request) full() string { return join(r.Namespace, strings.TrimPrefix(r.Path, "/v1/")) }

func join(ns, path string) string {
	if ns == "" {
		return path
	}
	return ns + "/" + path
}

// appendKey appends what identifies the answer to r: no part can hold a zero
// byte but the body, which comes last. A namespace in the header and one in the path are
// two: Vault's community edition ignores the header.
func (r *Request) appendKey(b []byte) []byte {
	b = append(append(b, r.Token...), 0)
	b = append(append(b, r.Method...), 0)
	b = append(append(b, r.Namespace...), 0)
	b = append(append(b, strings.TrimPrefix(r.RawPath, "/v1/")...), 0)
	b = append(append(b, r.Query...), 0)
	b = append(append(b, r.ContentType...), 0)
	return append(b, r.Body...)
}

// kvQuery reports whether a KV read with this query may be kept: none, or a version.
func kvQuery(query string) bool {
	version, ok := strings.CutPrefix(query, "version=")
	if !ok {
		return query == ""
	}
	return strings.Trim(version, "0123456789") == ""
}

// groups are the names under which everything that concerns one KV secret meets:
// the path itself and, for each word of KV v2's API in it, the path without the word.
func groups(full string) []string {
	out := []string{full}
	for from := 0; ; {
		i := strings.IndexByte(full[from:], '/')
		if i < 0 {
			return out
		}
		start := from + i + 1
		word, rest, more := strings.Cut(full[start:], "/")
		if !more {
			return out
		}
		switch word {
		case "data", "metadata", "delete", "undelete", "destroy":
			out = append(out, full[:start]+"\x00"+rest)
		}
		from = start - 1 + len("/")
	}
}

// allGroups are the groups of a path with and without its header's namespace, which
// Vault's community edition ignores.
func allGroups(full, ns string) []string {
	out := groups(full)
	if ns != "" {
		out = append(out, groups(strings.TrimPrefix(full, ns+"/"))...)
	}
	return out
}

// firstSegment is the coarsest name a write and a read of one mount share.
func firstSegment(full string) string {
	first, _, _ := strings.Cut(full, "/")
	return first
}

func lastSegment(full string) string { return full[strings.LastIndexByte(full, '/')+1:] }
