package proxy

import (
	"net/http"
	"strings"
)

// allows says whether the child's bearer may make this request.
func (c *Child) allows(r *http.Request, ns string) error {
	path, ok := strings.CutPrefix(r.URL.Path, "/v1/")
	if !ok {
		return &refusal{http.StatusForbidden, "permission denied: the program's token is for the API only"}
	}
	if strings.HasSuffix(path, "auth/token/revoke-self") {
		return &refusal{http.StatusForbidden, "permission denied: the program's token ends with envexec and cannot be revoked"}
	}
	if len(c.Paths) == 0 {
		return nil
	}
	if !clean(r.URL.Path) || ns != "" && !clean("/"+ns) || r.URL.RawPath != "" && strings.Contains(strings.ToLower(r.URL.RawPath), "%2f") {
		return &refusal{http.StatusForbidden, "permission denied: the path is not plain"}
	}
	full := join(ns, path)
	switch full {
	case "auth/token/lookup-self", "auth/token/renew-self", "sys/capabilities-self":
		return nil // about itself, and stripped
	}
	// The vault command asks this about the mount before it reads below it, without "data".
	before, asked, preflight := strings.Cut(full, "sys/internal/ui/mounts/")
	preflight = preflight && (before == "" || before == ns+"/")
	for _, prefix := range c.Paths {
		prefix = strings.TrimPrefix(prefix, "/")
		if below(full, prefix) || preflight && strings.HasPrefix(prefix, before) && sameMount(strings.TrimPrefix(prefix, before), asked) {
			return nil
		}
	}
	return &refusal{http.StatusForbidden, "permission denied: the program's token is limited to other paths"}
}

// sameMount reports whether two paths may lie below one mount: they begin alike.
func sameMount(a, b string) bool {
	first, _, _ := strings.Cut(a, "/")
	other, _, _ := strings.Cut(b, "/")
	return first == other
}

// spellOut moves the namespace of a limited request from its header into its path:
// Vault's community edition ignores the header, so that what was allowed and what is
// done would differ.
func (c *call) spellOut(r *http.Request, child *Child) {
	if len(child.Paths) == 0 || c.ns == "" {
		return
	}
	r.URL.Path, r.URL.RawPath = "/v1/"+c.ns+strings.TrimPrefix(r.URL.Path, "/v1"), ""
	r.RequestURI = r.URL.RequestURI()
	delete(r.Header, headerNamespace)
	c.path, c.ns = r.URL.Path, ""
}

// below reports whether path is prefix or lies under it, at a segment's border.
func below(path, prefix string) bool {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(prefix, "/"))
	return ok && (rest == "" || rest[0] == '/')
}

// clean reports whether no segment of an absolute path is empty, "." or "..";
// one slash at the end is allowed.
func clean(path string) bool {
	for segment := range strings.SplitSeq(strings.TrimSuffix(path[1:], "/"), "/") {
		if segment == "" || segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

// join puts a namespace before a path.
func join(ns, path string) string {
	if ns == "" {
		return path
	}
	return ns + "/" + path
}
