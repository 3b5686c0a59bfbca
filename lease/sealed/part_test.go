package sealed

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/envexec/envexec/secret"
)

func TestPartsAreApart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	f := open(t, path, key(goodKey), nil)
	one, two := f.Part("one"), f.Part("two")
	for p, value := range map[*Part]string{one: "1", two: "2"} {
		if err := p.Save(map[string][]byte{"a/b": []byte(value), "gone": nil}, nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := one.Save(nil, []string{"gone", "never there"}); err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	f = open(t, path, key(goodKey), nil)
	if a, b := text(f.Part("one").Load()), text(f.Part("two").Load()); a != "a/b=1" || b != "a/b=2 gone=" {
		t.Errorf("one has %q, two has %q", a, b)
	}
}

func TestAnotherOwnerStartsAfresh(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	start := func(owner string) (string, string) {
		var log bytes.Buffer
		f, err := Open(Config{Path: path, Keys: key(goodKey), Owner: owner, Logger: slog.New(slog.NewTextHandler(&log, nil))})
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		had := text(f.Load())
		save(t, f, "a", owner)
		return had, log.String()
	}
	start("prod")
	if had, said := start("prod"); had != "a=prod" || said != "" {
		t.Errorf("same owner: %q, said %q", had, said)
	}
	if had, said := start("staging"); had != "" || !strings.Contains(said, "another server or login") {
		t.Errorf("another owner: %q, said %q", had, said)
	}
	if had, _ := start("prod"); had != "" {
		t.Errorf("the first one's records came back: %q", had)
	}
}

func TestStrictRefusesInsteadOfStartingAfresh(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	f := open(t, path, key(goodKey), nil)
	save(t, f, "a", "1")
	_ = f.Close()
	before, _ := os.ReadFile(path)
	_, err := Open(Config{Path: path, Keys: key("another key altogether"), Strict: true})
	if err == nil || !strings.Contains(err.Error(), "wrong key") {
		t.Errorf("error %v", err)
	}
	if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
		t.Error("the refused file was changed")
	}
}

func TestAFullDiskAtTheStartIsNoReasonNotToStart(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	var full atomic.Bool
	full.Store(true)
	d := realDisk()
	create := d.create
	d.create = func(path string) (handle, error) {
		if full.Load() {
			return nil, &fs.PathError{Op: "open", Path: path, Err: noSpace}
		}
		return create(path)
	}
	var log bytes.Buffer
	f, err := Open(Config{Path: path, Keys: key(goodKey), Logger: slog.New(slog.NewTextHandler(&log, nil)), disk: &d})
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if !strings.Contains(log.String(), "cannot be written") {
		t.Errorf("said %q", log.String())
	}
	if err := f.Save(map[string][]byte{"a": []byte("1")}, nil); !errors.Is(err, noSpace) {
		t.Errorf("save: %v", err)
	}
	full.Store(false)
	save(t, f, "b", "2")
	_ = f.Close()
	if got := text(open(t, path, key(goodKey), nil).Load()); got != "b=2" {
		t.Errorf("got %q", got)
	}
}

func TestANewKeySealsAnewByItself(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	synctest.Test(t, func(t *testing.T) {
		var now atomic.Value
		now.Store("the first key of them all")
		f := open(t, path, func() ([]Key, error) { return []Key{{Text: secret.NewText(now.Load().(string))}}, nil }, nil)
		save(t, f, "a", "1")
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- f.Run(ctx) }()
		now.Store("the second key, and no other")
		time.Sleep(lookEvery + time.Second)
		synctest.Wait()
		copied, err := os.ReadFile(path)
		if err == nil {
			err = os.WriteFile(path+"2", copied, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		now.Store("the third key, a moment before the end")
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		_ = f.Close()
	})
	if got := text(open(t, path+"2", key("the second key, and no other"), nil).Load()); got != "a=1" {
		t.Errorf("after a while: %q", got)
	}
	if got := text(open(t, path, key("the third key, a moment before the end"), nil).Load()); got != "a=1" {
		t.Errorf("got %q", got)
	}
}
