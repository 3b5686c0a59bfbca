package telemetry

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestLogFileRotates(t *testing.T) {
	dir := t.TempDir()
	clock := time.Unix(1_000_000_000, 0)
	l := &LogFile{now: func() time.Time { clock = clock.Add(time.Second); return clock }}
	path := filepath.Join(dir, "app.log")
	if err := os.WriteFile(filepath.Join(dir, "app-notes.log"), nil, 0o600); err != nil { // not ours
		t.Fatal(err)
	}
	if err := l.Open(path, Rotation{MaxBytes: 10, MaxFiles: 2}); err != nil {
		t.Fatal(err)
	}
	for range 5 {
		if _, err := io.WriteString(l, "0123456789"); err != nil {
			t.Fatal(err)
		}
	}
	aside, _ := filepath.Glob(filepath.Join(dir, "app-1*.log"))
	if len(aside) != 2 {
		t.Errorf("%d put aside, want 2: %q", len(aside), aside)
	}
	if _, err := os.Stat(filepath.Join(dir, "app-notes.log")); err != nil {
		t.Error(err)
	}
	if info, err := os.Stat(path); err != nil || info.Size() != 10 {
		t.Error(info, err)
	}
	// Age, and a change while it is open: no line is lost.
	if err := l.Open(path, Rotation{MaxAge: time.Hour, MaxFiles: -1}); err != nil {
		t.Fatal(err)
	}
	clock = clock.Add(2 * time.Hour)
	if _, err := io.WriteString(l, "new\n"); err != nil {
		t.Fatal(err)
	}
	if aside, _ = filepath.Glob(filepath.Join(dir, "app-1*.log")); len(aside) != 0 {
		t.Errorf("negative max files keeps %q", aside)
	}
	if text, _ := os.ReadFile(path); string(text) != "new\n" {
		t.Errorf("%q", text)
	}
	// A file that cannot be opened leaves the old one.
	if err := l.Open(filepath.Join(dir, "no", "such", "dir"), Rotation{}); err == nil {
		t.Error("no error")
	}
	_, _ = io.WriteString(l, "still\n")
	if text, _ := os.ReadFile(path); !strings.HasSuffix(string(text), "still\n") {
		t.Errorf("%q", text)
	}
	if err := l.Open("", Rotation{}); err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(l, "nowhere"); err != nil {
		t.Error(err)
	}
	if err := l.Open(dir, Rotation{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "vault.log")); err != nil {
		t.Error(err)
	}
	_ = l.Open("", Rotation{})
}

type broken struct{}

func (broken) Write([]byte) (int, error) { return 0, errors.New("gone") }

// A terminal that went away does not stop the file.
func TestTee(t *testing.T) {
	var b strings.Builder
	if _, err := Tee(broken{}, &b).Write([]byte("x")); err == nil || b.String() != "x" {
		t.Errorf("%q %v", b.String(), err)
	}
}
