package envtemplate

import (
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/envexec/envexec/secret"
)

// file is {{ file "path" }}: a local file's text, below the sandbox path if there is one.
func (e *execution) file(path string) (string, error) {
	if path == "" {
		return "", nil
	}
	if e.includes == nil {
		e.includes = map[string]stamp{}
	}
	e.includes[path] = stampOf(path)
	text, err := e.readFile(path)
	if err != nil {
		return "", e.fail(fmt.Errorf("read file %s: %w", path, err))
	}
	return text, nil
}

func (e *execution) readFile(path string) (string, error) {
	if e.work.sandbox == "" {
		text, err := os.ReadFile(path)
		return string(text), err
	}
	inside, err := below(e.work.sandbox, path)
	if err != nil {
		return "", err
	}
	root, err := os.OpenRoot(e.work.sandbox) // follows no link that leads out
	if err != nil {
		return "", err
	}
	defer func() { _ = root.Close() }()
	f, err := root.Open(inside)
	if err != nil {
		return "", err
	}
	defer func() { _ = f.Close() }()
	text, err := io.ReadAll(f)
	return string(text), err
}

// below returns path relative to dir, or an error if it is not below it.
func below(dir, path string) (string, error) {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return "", err
	}
	if path, err = filepath.Abs(path); err != nil {
		return "", err
	}
	rel, err := filepath.Rel(dir, path)
	if err != nil || !filepath.IsLocal(rel) {
		return "", fmt.Errorf("%w %s", errOutside, dir)
	}
	return rel, nil
}

// inSandbox is path in the words of the sandbox path, which it must be below.
func (w *templateWork) inSandbox(path string) (string, error) {
	inside, err := below(w.sandbox, path)
	return filepath.Join(w.sandbox, inside), err
}

// writeToFile is {{ … | writeToFile "path" "user" "group" "0644" "append,newline" }}.
// The file is written with the Generation. append adds to what this run wrote.
func (e *execution) writeToFile(path, user, group, permissions string, args ...string) (string, error) {
	if len(args) == 0 || len(args) > 2 {
		return "", e.fail(fmt.Errorf("writeToFile %s: wants user, group, permissions, flags and contents", path))
	}
	flags := strings.Join(args[:len(args)-1], "")
	text := args[len(args)-1]
	perm, err := strconv.ParseUint(permissions, 8, 12)
	if err != nil {
		return "", e.fail(fmt.Errorf("writeToFile %s: permissions are not octal", path))
	}
	inside, err := e.work.inSandbox(path)
	if err != nil {
		return "", e.fail(fmt.Errorf("writeToFile %s: %w", path, err))
	}
	f := RenderedFile{
		Path: inside, Mode: fs.FileMode(perm), User: user, Group: group, CreateDirs: true,
		root: e.work.sandbox,
	}
	if strings.Contains(flags, "newline") {
		text += "\n"
	}
	for i, old := range e.files {
		if old.Path != f.Path {
			continue
		}
		if strings.Contains(flags, "append") {
			text = old.Contents.Reveal() + text
		}
		f.Contents = secret.NewText(text)
		e.files[i] = f
		return "", nil
	}
	f.Contents = secret.NewText(text)
	e.files = append(e.files, f)
	return "", nil
}
