package envtemplate

import (
	"path/filepath"

	"github.com/envexec/envexec/secret"
)

// delivery puts a variable's value where it belongs; nil = into the environment.
type delivery struct {
	dir         string
	user, group string
}

func (d *delivery) put(out *output, name, text string) {
	if out.vars == nil {
		out.vars = map[string]string{}
	}
	if d == nil {
		out.vars[name] = text
		return
	}
	path := filepath.Join(d.dir, name)
	out.vars[name+"_FILE"] = path
	out.files = append(out.files, RenderedFile{
		Path: path, Contents: secret.NewText(text), Mode: 0o400, User: d.user, Group: d.group,
	})
}
