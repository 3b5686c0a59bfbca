package method

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestFileContent: what editors, echo and Windows put around a credential is no part of it.
func TestFileContent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	for text, want := range map[string][2]string{ // trimmed, verbatim
		"s3cret": {"s3cret", "s3cret"}, "s3cret\n": {"s3cret", "s3cret"}, "s3cret\r\n": {"s3cret", "s3cret"}, "s3cret\n\r\n\n": {"s3cret", "s3cret"},
		" \ts3 cret \r\n": {"s3 cret", " \ts3 cret "}, "\xef\xbb\xbfs3cret\n": {"s3cret", "s3cret"},
		"": {}, "\r\n": {}, " \n": {"", " "}, "a\x00b": {}, strings.Repeat("x", maxFile+1): {},
	} {
		write(t, path, text)
		for i, verbatim := range []bool{false, true} {
			f := &File{Path: path, What: "credential", Verbatim: verbatim}
			got, err := f.Read()
			var ce *CredentialError
			if got != want[i] || (want[i] == "") != errors.As(err, &ce) || err != nil && strings.Contains(err.Error(), "x00b") {
				t.Errorf("%.20q, verbatim %v: %q, %v, want %q", text, verbatim, got, err, want[i])
			}
			if peeked := f.Peek(); peeked != want[i] {
				t.Errorf("%.20q, verbatim %v: peeked %q, want %q", text, verbatim, peeked, want[i])
			}
		}
	}
}

// TestRemovalSparesTheNewest: what was put in the file's place after it was read stays, be
// it by a rename, by a write, or by a swap of a link on the way.
func TestRemovalSparesTheNewest(t *testing.T) {
	dir := t.TempDir()
	path, data := filepath.Join(dir, "f"), filepath.Join(dir, "..data")
	for _, version := range []string{"..1", "..2"} {
		if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, version, "f"), version)
	}
	link := func(target, name string) {
		t.Helper()
		if err := errors.Join(os.Symlink(target, name+".new"), os.Rename(name+".new", name)); err != nil {
			t.Fatal(err)
		}
	}
	for name, test := range map[string]struct{ place, replace func() }{
		"rename": {func() { write(t, path, "one") }, func() {
			write(t, path+".new", "two")
			if err := os.Rename(path+".new", path); err != nil {
				t.Fatal(err)
			}
		}},
		"write": {func() { write(t, path, "one") }, func() {
			write(t, path, "two")
			if err := os.Chtimes(path, time.Time{}, time.Now().Add(time.Second)); err != nil { // a coarse clock does not tell
				t.Fatal(err)
			}
		}},
		"kubernetes": {func() { link("..1", data); link("..data/f", path) }, func() { link("..2", data) }},
	} {
		for _, follow := range []bool{false, true} {
			_ = os.Remove(path)
			test.place()
			f := &File{Path: path, What: "credential", Remove: true, FollowSymlinks: follow}
			if _, err := f.Read(); err != nil {
				t.Fatal(err)
			}
			test.replace()
			if err := f.Spent(nil); err != nil {
				t.Errorf("%s: %v", name, err)
			}
			if got, err := f.Read(); !strings.HasSuffix(got, "2") && got != "two" || err != nil || f.Spent(nil) != nil {
				t.Errorf("%s, follow %v: the new one reads as %q, %v", name, follow, got, err)
			}
			if _, err := os.Stat(path); err == nil {
				t.Errorf("%s, follow %v: what was read stays", name, follow)
			}
			write(t, filepath.Join(dir, "..2", "f"), "..2")
		}
	}
}

// TestFileThatCannotBeReadAnyMore: the last value is used until there is another.
func TestFileThatCannotBeReadAnyMore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	write(t, path, "one")
	f := &File{Path: path, What: "credential"}
	read := func(want string) {
		t.Helper()
		if got, err := f.Read(); got != want || err != nil {
			t.Errorf("%q, %v, want %q", got, err, want)
		}
	}
	read("one")
	write(t, path, "")
	read("one")
	if err := errors.Join(os.Remove(path), os.Mkdir(path, 0o700)); err != nil {
		t.Fatal(err)
	}
	read("one")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	write(t, path, "two")
	read("two")
}
