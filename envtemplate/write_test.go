package envtemplate

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envexec/envexec/secret"
)

// tree is the directory's files with their texts.
func tree(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := map[string]string{}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		files[filepath.ToSlash(name)] = string(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}

func wantTree(t *testing.T, dir string, want map[string]string) {
	t.Helper()
	got := tree(t, dir)
	if len(got) != len(want) {
		t.Errorf("files %v, want %v", got, want)
	}
	for name, text := range want {
		if got[name] != text {
			t.Errorf("%s is %q, want %q", name, got[name], text)
		}
	}
}

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info.Mode().Perm()
}

func TestFiles(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, filepath.FromSlash(name)) }
	if err := os.WriteFile(at("kept"), []byte("old"), 0o640); err != nil {
		t.Fatal(err)
	}
	binary := "\x00\x01\xff\r\n"
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.kv("a", map[string]any{"pem": "-----BEGIN\nx\n-----END\n", "bin": "AAH/DQo=", "k": "v1"})
		f.refuse(secret.Request{Path: "gone"}, secret.ErrMissing)
		var ran [][]string
		failing := errors.New("exit status 3")
		fail := true
		r, _ := start(t, Config{
			Source: f,
			Files: []File{
				{Destination: at("sub/key.pem"), Path: "a", Key: "pem"},
				{Destination: at("bin"), Path: "a", Key: "bin", Encoding: "base64", Mode: 0o440},
				{Destination: at("never"), Path: "gone", Key: "k", Optional: true},
			},
			Templates: []Template{
				{Destination: at("kept"), Contents: `{{ with secret "a" }}{{ .Data.data.k }}{{ end }}`, Backup: true, Command: &Command{Args: []string{"reload", "x"}}},
				{Destination: at("new"), Contents: `k={{ with secret "a" }}{{ .Data.data.k }}{{ end }}`, Command: &Command{Args: []string{"reload", "x"}}},
				{Destination: at("fixed"), Contents: `fixed`, Perms: 0o604, Command: &Command{Args: []string{"once"}}},
			},
			RunCommand: func(_ context.Context, c Command) error {
				ran = append(ran, c.Args)
				if c.Args[0] == "reload" && fail {
					return failing
				}
				return nil
			},
		})
		g := next(t, r)
		if got := tree(t, dir); len(got) != 1 {
			t.Errorf("files before they are asked for: %v", got)
		}
		err := g.WriteFiles(t.Context())
		var command *CommandError
		if !errors.As(err, &command) || !errors.Is(err, failing) {
			t.Errorf("error %v", err)
		}
		wantTree(t, dir, map[string]string{
			"sub/key.pem": "-----BEGIN\nx\n-----END\n", "bin": binary, "kept": "v1", "kept.bak": "old", "new": "k=v1", "fixed": "fixed",
		})
		if runtime.GOOS != "windows" {
			for name, want := range map[string]fs.FileMode{"sub/key.pem": 0o600, "bin": 0o440, "kept": 0o640, "new": 0o644, "fixed": 0o604} {
				if got := mode(t, at(name)); got != want {
					t.Errorf("%s has mode %o, want %o", name, got, want)
				}
			}
		}
		fail = false
		if err := g.WriteFiles(t.Context()); err != nil {
			t.Error(err)
		}
		f.kv("a", map[string]any{"pem": "other", "bin": "AAH/DQo=", "k": "v1"})
		g = next(t, r)
		if !slices.Equal(g.Changed, []string{at("sub/key.pem")}) {
			t.Errorf("changed %v", g.Changed)
		}
		if err := g.WriteFiles(t.Context()); err != nil {
			t.Error(err)
		}
		// The same command of two files runs once; a failed one again; an unchanged file's never.
		want := [][]string{{"once"}, {"reload", "x"}, {"reload", "x"}}
		if !slices.EqualFunc(ran, want, slices.Equal[[]string]) {
			t.Errorf("commands %v", ran)
		}
	})
}

// A file that cannot be staged, or renamed in the end, leaves all of them as they were.
func TestFilesAllOrNone(t *testing.T) {
	dir := t.TempDir()
	at := func(names ...string) string { return filepath.Join(append([]string{dir}, names...)...) }
	put(t, at("block"), "")
	put(t, at("kept"), "old")
	if err := os.MkdirAll(at("x", "taken"), 0o700); err != nil {
		t.Fatal(err)
	}
	for name, bad := range map[string]string{"directory is a file": at("block", "b"), "destination is a directory": at("x")} {
		g := Generation{
			Files: []RenderedFile{
				{Path: at("a"), Contents: secret.NewText("new")},
				{Path: at("kept"), Contents: secret.NewText("new")},
				{Path: bad, Contents: secret.NewText("hunter2"), CreateDirs: true},
			},
			write: newWriter(Config{Logger: discard()}).write,
		}
		err := g.WriteFiles(t.Context())
		if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), bad) {
			t.Errorf("%s: error %v", name, err)
		}
		wantTree(t, dir, map[string]string{"block": "", "kept": "old"})
	}
}

// What an envexec left that was killed while it wrote is removed, but not what another
// one is writing now.
func TestAbandonedFilesAreRemoved(t *testing.T) {
	dir := t.TempDir()
	for name, age := range map[string]time.Duration{".envexec-1": time.Hour, ".envexec-2-was": time.Hour, ".envexec-3": time.Second, "other": time.Hour} {
		put(t, filepath.Join(dir, name), "secret")
		at := time.Now().Add(-age)
		if err := os.Chtimes(filepath.Join(dir, name), at, at); err != nil {
			t.Fatal(err)
		}
	}
	g := Generation{Files: []RenderedFile{{Path: filepath.Join(dir, "a"), Contents: secret.NewText("new")}}, write: newWriter(Config{Logger: discard()}).write}
	if err := g.WriteFiles(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantTree(t, dir, map[string]string{"a": "new", ".envexec-3": "secret", "other": "secret"})
}

func TestWriteToFile(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "not", "there") // it is made
	outside := t.TempDir()
	in := func(name string) string { return filepath.ToSlash(filepath.Join(dir, name)) }
	run := func(contents string) error {
		r, err := New(Config{Source: shelf(), Templates: []Template{{Destination: in("main"), Contents: contents, SandboxPath: dir}}})
		if err != nil {
			return err
		}
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		go func() { done <- r.Run(ctx) }()
		select {
		case g := <-r.Generations():
			cancel()
			<-done
			return g.WriteFiles(t.Context())
		case err := <-done:
			return err
		}
	}
	text := `{{ with secret "kv1/app" }}main{{ .Data.k | writeToFile "` + in("d/one") + `" "" "" "0640" }}` +
		`{{ "first" | writeToFile "` + in("two") + `" "" "" "0600" "newline" }}{{ "second" | writeToFile "` + in("two") + `" "" "" "0600" "append,newline" }}{{ end }}`
	if err := run(text); err != nil {
		t.Fatal(err)
	}
	wantTree(t, dir, map[string]string{"main": "main", "d/one": "one", "two": "first\nsecond\n"})
	if err := run(`{{ "x" | writeToFile "` + filepath.ToSlash(filepath.Join(outside, "x")) + `" "" "" "0600" }}`); err == nil || !strings.Contains(err.Error(), "not below the sandbox path") {
		t.Errorf("error %v", err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, "link")); err != nil {
		t.Skip(err)
	}
	if err := run(`{{ "x" | writeToFile "` + in("link/x") + `" "" "" "0600" }}`); err == nil || !strings.Contains(err.Error(), "not below the sandbox path") {
		t.Errorf("error %v", err)
	}
	wantTree(t, outside, nil)
}

func TestDelivery(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		f := newFake()
		f.kv("a", map[string]any{"k": "v", "l": "w"})
		r, _ := start(t, Config{
			Source: f, Delivery: Delivery{Dir: dir},
			Variables:    []Variable{{Name: "K", Path: "a", Key: "k", Delivery: "file"}},
			EnvTemplates: []EnvTemplate{{Name: "T", Contents: `{{ with secret "a" }}{{ .Data.data.l }}{{ end }}`, Delivery: "file"}},
		})
		g := next(t, r)
		wantVars(t, g, map[string]string{"K_FILE": filepath.Join(dir, "K"), "T_FILE": filepath.Join(dir, "T")})
		if err := g.WriteFiles(t.Context()); err != nil {
			t.Fatal(err)
		}
		wantTree(t, dir, map[string]string{"K": "v", "T": "w"})
		if runtime.GOOS != "windows" && mode(t, filepath.Join(dir, "K")) != 0o400 {
			t.Errorf("mode %o", mode(t, filepath.Join(dir, "K")))
		}
	})
	if _, err := New(Config{Source: newFake(), Variables: []Variable{{Name: "K", Path: "a", Key: "k", Delivery: "file"}}}); err == nil {
		t.Error("delivery without a directory")
	}
}
