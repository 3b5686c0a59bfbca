package main

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const module = "github.com/envexec/envexec/"

// rooms lists what each package may import of ours. Siblings never import each
// other; only the root package knows them all.
var rooms = map[string][]string{
	"":                   {"auth", "auth/method", "auth/sink", "config", "environ", "envtemplate", "internal/admin", "internal/clock", "internal/early", "internal/fault", "internal/files", "internal/foreign", "internal/rawconn", "internal/systemd", "internal/telemetry", "lease", "lease/sealed", "proxy", "secret", "signals", "supervise"},
	"auth":               {"secret", "auth/method", "internal/clock", "internal/foreign"},
	"auth/authtest":      {"auth", "auth/method", "secret", "internal/vaulttest"},
	"auth/sink":          {"auth", "auth/method", "secret", "internal/clock", "internal/files"},
	"auth/method":        {"auth", "secret", "internal/clock", "internal/foreign"},
	"config":             {"environ", "signals", "secret"},
	"environ":            {},
	"envtemplate":        {"environ", "secret", "internal/fault", "internal/clock", "internal/files"},
	"internal/admin":     {"internal/files"},
	"internal/clock":     {},
	"internal/due":       {},
	"internal/files":     {},
	"internal/early":     {},
	"internal/fault":     {},
	"internal/foreign":   {},
	"internal/rawconn":   {},
	"internal/systemd":   {},
	"internal/telemetry": {"internal/files"},
	"internal/vaulttest": {},
	"internal/events":    {"secret"},
	"lease":              {"secret", "lease/sealed", "internal/clock", "internal/due", "internal/events", "internal/foreign"},
	"lease/shared":       {"secret", "internal/clock", "internal/due", "internal/events"},
	"lease/sealed":       {"secret", "internal/files"},
	"proxy":              {"secret", "lease", "lease/shared", "internal/clock", "internal/files", "internal/rawconn"},
	"secret":             {},
	"signals":            {},
	"supervise":          {"environ", "signals", "internal/clock", "internal/early", "internal/fault", "internal/systemd"},
}

// fences names the only rooms that may import a third party's package.
var fences = map[string][]string{
	"github.com/hashicorp/consul-template": {"envtemplate"},
	"os/exec":                              {"supervise", "internal/vaulttest"},
	"github.com/urfave/cli":                {"config"},
	"github.com/hashicorp/hcl":             {"config"},
	"github.com/fsnotify/fsnotify":         {"auth", "envtemplate"},
	"go.etcd.io/bbolt":                     {"lease/sealed"},
	"github.com/hashicorp/vault/api":       {"", "auth", "lease", "proxy", "internal/vaulttest"},
	"github.com/hashicorp/vault/sdk":       {"auth"},
	"go.uber.org/automaxprocs":             {""},
	"log":                                  {"envtemplate"},
}

// TestImportsKeepToTheirRooms reads imports with go/parser: a `go list` would be
// cached by go test and miss a new violation.
func TestImportsKeepToTheirRooms(t *testing.T) {
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			switch d.Name() {
			case "testdata", "bin", ".git", "demo", "bench", "conformance", "contrib":
				return filepath.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
		if err != nil {
			return err
		}
		room := roomOf(filepath.ToSlash(filepath.Dir(path)))
		if _, known := rooms[room]; !known {
			t.Errorf("%s: no room %q in the house: add it to the table with its reason", path, room)
		}
		for _, spec := range file.Imports {
			imported, _ := strconv.Unquote(spec.Path.Value)
			check(t, path, room, imported)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func roomOf(dir string) string {
	switch {
	case dir == ".":
		return ""
	case strings.HasPrefix(dir, "auth/method/"):
		return "auth/method"
	}
	return dir
}

func check(t *testing.T, path, room, imported string) {
	t.Helper()
	if ours, ok := strings.CutPrefix(imported, module); ok {
		to := roomOf(ours)
		if to != room && !slices.Contains(rooms[room], to) {
			t.Errorf("%s: %s may not import %s", path, orRoot(room), ours)
		}
		return
	}
	for fence, allowed := range fences {
		if imported != fence && !strings.HasPrefix(imported, fence+"/") {
			continue
		}
		if fence == "log" && imported != "log" { // log/slog is for everybody
			continue
		}
		if !slices.ContainsFunc(allowed, func(a string) bool { return a == room || a != "" && strings.HasPrefix(room, a+"/") }) {
			t.Errorf("%s: %s may not import %s: only %q may", path, orRoot(room), imported, allowed)
		}
	}
}

func orRoot(room string) string {
	if room == "" {
		return "the root package"
	}
	return room
}
