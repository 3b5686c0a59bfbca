package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/envtemplate"
	"github.com/envexec/envexec/supervise"
)

// drop is the directory of the values delivered as files; nil = there are none.
// It lives as long as envexec and is gone afterwards.
type drop struct {
	path string
	lock *os.File // held: others leave the directory alone
}

// dropPrefix begins the name of every such directory.
const dropPrefix = "envexec-"

// newDrop makes the directory, in memory where the system has such a place, and
// removes those that envexecs which were killed have left.
func newDrop(env environ.Environ, user *supervise.User) (*drop, error) {
	parent, err := memoryDir(env)
	if err != nil {
		return nil, err
	}
	sweep(parent)
	for try := 1; ; try++ {
		d := &drop{}
		if d.path, err = os.MkdirTemp(parent, dropPrefix); err == nil {
			d.lock, err = lockDir(d.path)
		}
		if err == nil && user != nil {
			// The program passes through to the files that are its own; nobody can list them.
			err = os.Chmod(d.path, 0o711) //nolint:gosec // see above
		}
		if err == nil {
			return d, nil
		}
		d.remove()
		if try == 3 { // another envexec may have swept it away before it was locked
			return nil, fmt.Errorf("make a directory for values delivered as files: %w", err)
		}
	}
}

// newDelivery makes the place for values delivered as files, if there are any.
func (v *vaultSide) newDelivery(cfg *config.Config, w wanted, env environ.Environ) (envtemplate.Delivery, error) {
	var to envtemplate.Delivery
	if !w.delivered("file") {
		return to, nil
	}
	if cfg.Word == config.Render { // only named, never used
		return envtemplate.Delivery{Dir: os.TempDir()}, nil
	}
	var user *supervise.User
	var err error
	if name := cfg.Program.User; name != "" {
		if user, err = supervise.LookupUser(name); err != nil {
			return to, err
		}
		to.UID, to.GID = int(user.UID), int(user.GID)
	}
	if v.drop == nil {
		v.drop, err = newDrop(env, user)
	}
	if err == nil {
		to.Dir = v.drop.path
	}
	return to, err
}

// remove ends the directory.
func (d *drop) remove() {
	if d == nil || d.path == "" {
		return
	}
	_ = os.RemoveAll(d.path)
	if d.lock != nil {
		_ = d.lock.Close()
		_ = os.Remove(d.path) // on Windows the lock was in it
	}
}

// sweep removes directories of ours that nobody holds any more.
func sweep(parent string) {
	left, _ := filepath.Glob(filepath.Join(parent, dropPrefix+"*"))
	for _, path := range left {
		if lock, err := lockDir(path); err == nil {
			(&drop{path, lock}).remove()
		}
	}
}

// delivered reports whether any variable is to be delivered this way.
func (w wanted) delivered(kind string) bool {
	return slices.ContainsFunc(w.variables, func(v envtemplate.Variable) bool { return v.Delivery == kind }) ||
		slices.ContainsFunc(w.from, func(f envtemplate.From) bool { return f.Delivery == kind }) ||
		slices.ContainsFunc(w.envTemplates, func(t envtemplate.EnvTemplate) bool { return t.Delivery == kind })
}

// deliver gives inherited references the delivery that was asked for by name, and
// refuses names that nothing has.
func (w *wanted) deliver(named []config.Named) error {
	var errs []error
	for _, n := range named {
		if n.Delivery == "" {
			continue
		}
		found := slices.ContainsFunc(w.envTemplates, func(t envtemplate.EnvTemplate) bool { return t.Name == n.Name })
		for i := range w.variables {
			if v := &w.variables[i]; v.Name == n.Name {
				v.Delivery, found = n.Delivery, true
			}
		}
		if !found {
			errs = append(errs, fmt.Errorf("--as-file %s: no variable of that name is set from Vault", n.Name))
		}
	}
	if w.delivered("memfd") && !supervise.HasMemory() {
		errs = append(errs, errors.New("delivery as memfd works on Linux only: use file"))
	}
	return errors.Join(errs...)
}

// inMemory takes out of env what becomes a file in memory when the program starts.
func inMemory(env environ.Environ, files []envtemplate.RenderedFile) (environ.Environ, []supervise.Memory) {
	var memory []supervise.Memory
	for _, f := range files {
		if f.Memory {
			memory = append(memory, supervise.Memory{Name: f.Variable + "_FILE", Data: f.Contents.Reveal()})
			env = env.Strip(f.Variable + "_FILE")
		}
	}
	return env, memory
}

// firstOf returns the first path of a list as systemd writes it.
func firstOf(list string) string {
	first, _, _ := strings.Cut(list, ":")
	return first
}
