package envtemplate

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"time"

	"github.com/envexec/envexec/internal/files"
)

// writer puts files in place, one Generation at a time.
type writer struct {
	run    func(context.Context, Command) error
	log    *slog.Logger
	jitter func(time.Duration) time.Duration

	mu   sync.Mutex
	owed []Command // of files that changed, not yet run with success
}

func newWriter(cfg Config) *writer {
	return &writer{run: cfg.RunCommand, log: cfg.Logger, jitter: cfg.jitter}
}

func (w *writer) write(ctx context.Context, g Generation) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	var ready []staged
	dirs := map[string]bool{}
	defer func() {
		for _, s := range ready {
			s.clean()
		}
	}()
	for _, f := range g.Files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if f.Memory {
			continue
		}
		temp, err := stage(f)
		if err != nil {
			return &FileError{f.Path, err}
		}
		if temp != "" {
			ready = append(ready, staged{file: f, temp: temp})
			dirs[filepath.Dir(temp)] = true
		}
	}
	if err := commit(ready); err != nil {
		return err
	}
	for dir := range dirs {
		sweep(dir)
	}
	for _, s := range ready {
		w.log.Info("file written", "path", s.file.Path)
		w.owe(s.file.Command)
	}
	return w.settle(ctx)
}

// owe notes that c has to run.
func (w *writer) owe(c *Command) {
	if c == nil {
		return
	}
	for _, o := range w.owed {
		if reflect.DeepEqual(o, *c) {
			return
		}
	}
	w.owed = append(w.owed, *c)
}

// CommandError says that all files are in place but a command after them failed. It
// is owed: the next WriteFiles runs it again.
type CommandError struct {
	Args []string
	Err  error
}

// Error names the program and what happened.
func (e *CommandError) Error() string { return fmt.Sprintf("run command %s: %v", e.Args[0], e.Err) }

// Unwrap returns Err.
func (e *CommandError) Unwrap() error { return e.Err }

// settle runs the commands that are owed. One that fails stays owed and does not stop the others.
func (w *writer) settle(ctx context.Context) error {
	var errs []error
	var left []Command
	for _, c := range w.owed {
		if err := w.runOne(ctx, c); err != nil {
			errs = append(errs, &CommandError{c.Args, err})
			left = append(left, c)
		}
	}
	w.owed = left
	return errors.Join(errs...)
}

func (w *writer) runOne(ctx context.Context, c Command) error {
	if c.Splay > 0 {
		select {
		case <-time.After(w.jitter(c.Splay)):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	return w.run(ctx, c)
}

// stage writes f beside its destination. An empty name says that the destination is
// already as it should be.
func stage(f RenderedFile) (temp string, err error) {
	own, err := lookupOwner(f.User, f.Group)
	if err != nil {
		return "", err
	}
	now, err := os.Lstat(f.Path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", err
	}
	if err == nil && now.IsDir() {
		return "", errDirectory
	}
	exists := err == nil && now.Mode().IsRegular()
	mode, like := octal(f.Mode), ""
	if mode == 0 {
		if mode = 0o644; exists {
			mode, like = now.Mode()&^fs.ModeType, f.Path
		}
	}
	if exists && files.HasMode(f.Path, now, mode) && own.has(now) {
		if old, err := os.ReadFile(f.Path); err == nil && string(old) == f.Contents.Reveal() {
			return "", nil
		}
	}
	if exists {
		own.keep(now)
	}
	dir := filepath.Dir(f.Path)
	if f.root != "" {
		if err := confined(f.root, dir); err != nil {
			return "", err
		}
	}
	if f.CreateDirs {
		if err := os.MkdirAll(dir, 0o755); err != nil { //nolint:gosec // as Vault Agent does: the file's own mode protects it
			return "", err
		}
	}
	return own.writeTemp(dir, mode, like, f.Contents.Reveal())
}

// octal is a mode as it is written, with its special bits where Go has them.
func octal(written fs.FileMode) fs.FileMode {
	mode := written.Perm()
	for bit, is := range map[fs.FileMode]fs.FileMode{0o4000: fs.ModeSetuid, 0o2000: fs.ModeSetgid, 0o1000: fs.ModeSticky} {
		if written&bit != 0 {
			mode |= is
		}
	}
	return mode
}

// confined reports an error if dir, as far as it exists, lies outside root once
// symbolic links are followed.
func confined(root, dir string) error {
	root, err := filepath.EvalSymlinks(root)
	if errors.Is(err, fs.ErrNotExist) {
		return nil // it will be made
	}
	if err != nil {
		return err
	}
	for {
		real, err := filepath.EvalSymlinks(dir)
		if err == nil {
			_, err = below(root, real)
			return err
		}
		if !errors.Is(err, fs.ErrNotExist) || filepath.Dir(dir) == dir {
			return err
		}
		dir = filepath.Dir(dir)
	}
}

// writeTemp makes a complete file in dir; like is the file whose rights it keeps, or "".
func (o owner) writeTemp(dir string, mode fs.FileMode, like, text string) (string, error) {
	t, err := files.CreateTemp(dir, tempPrefix+"*", mode, like)
	if err != nil {
		return "", err
	}
	_, err = t.WriteString(text)
	err = errors.Join(err, o.give(t))
	if err == nil { // after the owner: chown takes setuid bits away
		err = files.SetMode(t, mode)
	}
	if err == nil {
		err = t.Sync()
	}
	if err = errors.Join(err, t.Close()); err != nil {
		_ = os.Remove(t.Name())
		return "", err
	}
	return t.Name(), nil
}
