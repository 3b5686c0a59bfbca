package envtemplate

import (
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func put(t *testing.T, path, text string) {
	t.Helper()
	temp := path + ".tmp"
	if err := os.WriteFile(temp, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(temp, path); err != nil {
		t.Fatal(err)
	}
}

// fakeNotifier reports what the test says.
type fakeNotifier struct{ events chan struct{} }

func (n fakeNotifier) Add(string) error        { return nil }
func (n fakeNotifier) Events() <-chan struct{} { return n.events }
func (n fakeNotifier) Close()                  {}

func TestChangedTemplatesAndIncludes(t *testing.T) {
	for name, events := range map[string]chan struct{}{"notified": make(chan struct{}), "polled": nil} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			tpl, inc := filepath.Join(dir, "a.tpl"), filepath.Join(dir, "inc")
			put(t, tpl, `one {{ with secret "kv1/app" }}{{ .Data.k }}{{ end }}`)
			put(t, inc, "i1")
			synctest.Test(t, func(t *testing.T) {
				var log strings.Builder
				cfg := Config{
					Source: shelf(), Logger: slog.New(slog.NewTextHandler(&log, nil)),
					EnvTemplates: []EnvTemplate{{Name: "A", Source: tpl}, {Name: "B", Contents: `{{ file "` + filepath.ToSlash(inc) + `" }}`}},
				}
				cfg.notify = func() (notifier, error) { return nil, errors.New("no inotify") }
				changed := func() { time.Sleep(31 * time.Second) }
				if events != nil {
					events = make(chan struct{})
					cfg.notify = func() (notifier, error) { return fakeNotifier{events}, nil }
					changed = func() { events <- struct{}{}; time.Sleep(time.Second) }
				}
				r, _ := start(t, cfg)
				wantVars(t, next(t, r), map[string]string{"A": "one one", "B": "i1"})
				put(t, tpl, `two {{ with secret "secret/data/app" }}{{ .Data.data.user }}{{ end }}`)
				changed()
				wantVars(t, next(t, r), map[string]string{"A": "two admin", "B": "i1"})
				put(t, tpl, `{{ broken`)
				put(t, inc, "i2")
				changed()
				wantVars(t, next(t, r), map[string]string{"A": "two admin", "B": "i2"})
				if n := strings.Count(log.String(), "changed template is not used"); n != 1 {
					t.Errorf("said %d times: %s", n, log.String())
				}
				put(t, tpl, `three`)
				changed()
				wantVars(t, next(t, r), map[string]string{"A": "three", "B": "i2"})
				changed()
				none(t, r)
			})
		})
	}
}

// The system's notifier tells of a file that is replaced.
func TestInotify(t *testing.T) {
	dir := t.TempDir()
	n, err := newInotify()
	if err != nil {
		t.Skip(err)
	}
	defer n.Close()
	if err := n.Add(dir); err != nil {
		t.Fatal(err)
	}
	put(t, filepath.Join(dir, "a"), "x")
	<-n.Events()
}
