package envtemplate

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"

	"github.com/envexec/envexec/secret"
)

// delivery puts a variable's value where it belongs; nil = into the environment.
type delivery struct {
	dir         string // "" = memory
	user, group string
}

// deliver returns where values delivered as kind go.
func (d Delivery) deliver(kind string) (*delivery, error) {
	switch kind {
	case "", "value":
		return nil, nil
	case "memfd":
		return &delivery{}, nil
	case "file":
		if d.Dir == "" {
			return nil, errors.New("delivery as a file needs a directory")
		}
		out := &delivery{dir: d.Dir}
		if d.UID != 0 || d.GID != 0 {
			out.user, out.group = strconv.Itoa(d.UID), strconv.Itoa(d.GID)
		}
		return out, nil
	}
	return nil, fmt.Errorf("unknown delivery %q, only value, file and memfd", kind)
}

func (d *delivery) put(out *output, name, text string) {
	if out.vars == nil {
		out.vars = map[string]string{}
	}
	if d == nil {
		out.vars[name] = text
		return
	}
	f := RenderedFile{
		Variable: name, Path: name, Memory: d.dir == "",
		Contents: secret.NewText(text), Mode: 0o400, User: d.user, Group: d.group,
	}
	if !f.Memory {
		f.Path = filepath.Join(d.dir, name)
	}
	out.vars[name+"_FILE"] = f.Path
	out.files = append(out.files, f)
}
