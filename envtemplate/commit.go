package envtemplate

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/envexec/envexec/internal/files"
)

// staged is a file ready to be renamed into place.
type staged struct {
	file RenderedFile
	temp string
	was  string // another name of what it replaces; "" = none
	gone bool   // it replaces nothing
}

// commit renames all files into place, or none: one that fails takes those before it
// back. Backups are made before, so that nothing stands between two renames.
func commit(ready []staged) error {
	fail := func(s staged, err error) error { return &FileError{s.file.Path, err} }
	for i := range ready {
		s := &ready[i]
		if s.file.Backup {
			if err := backup(s.file.Path); err != nil {
				return fail(*s, fmt.Errorf("keep the last version: %w", err))
			}
		}
		if len(ready) > 1 {
			s.keep()
		}
	}
	for i, s := range ready {
		if err := files.Replace(s.temp, s.file.Path); err != nil {
			for _, done := range ready[:i] {
				done.takeBack()
			}
			return fail(s, err)
		}
	}
	return nil
}

// keep gives what s replaces another name, where the file system can.
func (s *staged) keep() {
	was := s.temp + "-was"
	switch err := os.Link(s.file.Path, was); {
	case err == nil:
		s.was = was
	case errors.Is(err, fs.ErrNotExist):
		s.gone = true
	}
}

func (s *staged) takeBack() {
	switch {
	case s.was != "":
		_ = files.Replace(s.was, s.file.Path)
	case s.gone:
		_ = os.Remove(s.file.Path)
	}
}

// clean removes what is left beside the destination.
func (s *staged) clean() {
	_ = os.Remove(s.temp) // gone already where all went well
	if s.was != "" {
		_ = os.Remove(s.was)
	}
}

// tempPrefix begins the names of staged files.
const tempPrefix = ".envexec-"

// abandoned is the age at which a staged file has nobody who will rename it.
const abandoned = time.Minute

// sweep removes from dir what an envexec left that was killed while it staged.
func sweep(dir string) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), tempPrefix) || !e.Type().IsRegular() {
			continue
		}
		if info, err := e.Info(); err == nil && time.Since(info.ModTime()) > abandoned {
			_ = os.Remove(filepath.Join(dir, e.Name()))
		}
	}
}

// backup makes path.bak another name of what path is now.
func backup(path string) error {
	bak := path + ".bak"
	if err := os.Remove(bak); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Link(path, bak); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
