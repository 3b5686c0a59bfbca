package supervise

import (
	"os"
	"strings"
)

// Memory is a file that exists in memory only and that only the program, and whoever
// it passes it to, can open: its variable holds the path.
type Memory struct {
	Name string // of the variable
	Data string // the contents
}

// set puts the file's path into env, in place of what the variable held.
func (m Memory) set(env []string, fd int) []string {
	out := make([]string, 0, len(env)+1)
	for _, v := range env {
		if !strings.HasPrefix(v, m.Name+"=") {
			out = append(out, v)
		}
	}
	return append(out, m.Name+"="+m.path(fd))
}

// pass makes the files in memory of sp's program. The caller closes them after the start.
func (sp *spec) pass(memory []Memory) (files []*os.File, err error) {
	for _, m := range memory {
		f, err := m.open(sp.user, true)
		if err != nil {
			return files, err
		}
		sp.env = m.set(sp.env, len(sp.files))
		sp.files = append(sp.files, f.Fd())
		files = append(files, f)
	}
	return files, nil
}
