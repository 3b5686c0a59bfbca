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
	if !clean(r.URL.Path) || r.URL.RawPath != "" && strings.Contains(strings.ToLower(r.URL.RawPath), "%2f") {
		return &refusal{http.StatusForbidden, "permission denied: the path is not plain"}
	}
	full := join(ns, path)
	switch full {
	case "auth/token/lookup-self", "auth/token/renew-self", "sys/capabilities-self":
		return nil // about itself, and stripped
	}
	// The vault command asks this of a mount before it reads below it.
	asked := strings.TrimPrefix(full, "sys/internal/ui/mounts/")
	for _, prefix := range c.Paths {
		prefix = strings.TrimPrefix(prefix, "/")
		if below(full, prefix) || asked != full && (below(asked, prefix) || below(prefix, asked)) {
			return nil
		}
	}
	return &refusal{http.StatusForbidden, "permission denied: the program's token is limited to other paths"}
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
