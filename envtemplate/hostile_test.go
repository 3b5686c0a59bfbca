package envtemplate

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envexec/envexec/secret"
)

// A template that loops for ever does not keep envexec from ending.
func TestEndlessLoopEndsWithRun(t *testing.T) {
	f := shelf()
	r, err := New(Config{Source: f, EnvTemplates: []EnvTemplate{{Name: "V", Contents: `{{ with secret "kv1/app" }}{{ range loop 1000000000000000 }}{{ end }}{{ end }}`}}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	for f.asked() == 0 {
		<-time.After(time.Millisecond)
	}
	<-time.After(20 * time.Millisecond) // it loops now
	cancel()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("Run does not end")
	}
}

// One that breaks is an error with its place, and quotes no secret.
func TestTemplatesThatBreak(t *testing.T) {
	for name, text := range map[string]string{
		"calls itself":       `{{ define "x" }}{{ template "x" . }}{{ end }}{{ template "x" . }}`,
		"panics":             `{{ with secret "secret/data/app" }}{{ sprig_repeat -1 .Data.data.password }}{{ end }}`,
		"index out of range": `{{ with secret "secret/data/app" }}{{ index .Data.data.list 99 }}{{ end }}`,
		"slice out of range": `{{ with secret "secret/data/app" }}{{ slice .Data.data.password 5 99 }}{{ end }}`,
		"divides by zero":    `{{ divide 0 1 }}`,
		"bad expression":     `{{ with secret "secret/data/app" }}{{ .Data.data.user | regexMatch "(" }}{{ end }}`,
		"bad JSON":           `{{ with secret "secret/data/app" }}{{ .Data.data.password | parseJSON }}{{ end }}`,
		"wrong type":         `{{ with secret "secret/data/app" }}{{ .Data.data.password.x }}{{ end }}`,
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				_, err := render(t, shelf(), EnvTemplate{Contents: text}, nil)
				if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "contents:1") {
					t.Errorf("error %v", err)
				}
			})
		})
	}
}

// Two of them that write one file are told apart, also where that shows only as they run.
func TestOneDestinationOfTwo(t *testing.T) {
	dir := filepath.ToSlash(t.TempDir())
	synctest.Test(t, func(t *testing.T) {
		_, stop := start(t, Config{Source: shelf(), Templates: []Template{
			{Destination: dir + "/a", Contents: "a"},
			{Destination: dir + "/b", SandboxPath: dir, Contents: `{{ "b" | writeToFile "` + dir + `/a" "" "" "0600" }}`},
		}})
		synctest.Wait()
		if err := stop(); err == nil || !strings.Contains(err.Error(), "is set by both") {
			t.Errorf("error %v", err)
		}
	})
}

// Destinations that are not what they should be.
func TestOddDestinations(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	put(t, at("target"), "of a link")
	for link, to := range map[string]string{"link": "target", "dangling": "nowhere", "self": "self"} {
		if err := os.Symlink(to, at(link)); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"link", "dangling", "self"} {
		g := Generation{Files: []RenderedFile{{Path: at(name), Contents: secret.NewText("new"), Mode: 0o600}}, write: newWriter(Config{Logger: discard()}).write}
		if err := g.WriteFiles(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A link is replaced: what it names belongs to somebody else.
	wantTree(t, dir, map[string]string{"target": "of a link", "link": "new", "dangling": "new", "self": "new"})
	for _, bad := range []string{"", "/dev/null/x", "/proc/version", at("link") + "/x", strings.Repeat("x", 5000)} {
		g := Generation{Files: []RenderedFile{{Path: bad, Contents: secret.NewText("hunter2")}}, write: newWriter(Config{Logger: discard()}).write}
		if err := g.WriteFiles(t.Context()); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%.20s: error %v", bad, err)
		}
	}
}
