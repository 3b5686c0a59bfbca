package method

import (
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/envexec/envexec/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestOptionsValues(t *testing.T) {
	o := NewOptions(map[string]any{
		"Yes": "true", "one": 1, "off": json.Number("0"), "n": "12", "big": 3.0,
		"seconds": 90, "quoted": "90", "go": "1m30s", "days": "2d", "empty": "", "text": secret.NewText("s"),
	})
	for name, ok := range map[string]bool{
		"text":     o.Text("text").Reveal() == "s",
		"absent":   o.String("none", "default") == "default" && o.Text("nothing").Empty(),
		"booleans": o.Bool("yes", false) && o.Bool("one", false) && !o.Bool("off", true) && o.Bool("not written", true),
		"numbers":  o.Int("n", 0) == 12 && o.Int("big", 0) == 3 && o.Int("no number", 7) == 7,
		"durations": o.Duration("seconds", 0) == 90*time.Second && o.Duration("quoted", 0) == 90*time.Second &&
			o.Duration("go", 0) == 90*time.Second && o.Duration("days", 0) == 48*time.Hour && o.Duration("empty", time.Minute) == time.Minute,
	} {
		if !ok {
			t.Errorf("%s: wrong value", name)
		}
	}
	if err := o.Err(); err != nil {
		t.Error(err)
	}
}

func TestOptionsProblemsComeTogether(t *testing.T) {
	o := NewOptions(map[string]any{
		"secret_id_file_pth": "x", "number": "many", "flag": "perhaps", "zero": 0, "list": []any{1}, "far_away": 1, "wait": "soon",
	})
	o.String("secret_id_file_path", "")
	o.Int("number", 0)
	o.Bool("flag", false)
	o.Duration("zero", 0)
	o.Duration("wait", 0)
	o.String("list", "")
	o.Text("list")
	o.Require("role", "")
	o.OneOf("a", "b")
	err := o.Err()
	if err == nil {
		t.Fatal("accepted")
	}
	for _, want := range []string{
		"secret_id_file_pth: unknown key, did you mean secret_id_file_path?", "number: want a whole number", "flag: want a boolean",
		"zero: must be above zero", "wait: want a duration", "list: want text", "role: is required", "far_away: unknown key; known are", "a, b: exactly one",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in:\n%v", want, err)
		}
	}
	if strings.Contains(err.Error(), "perhaps") || strings.Contains(err.Error(), "many") {
		t.Error("a value is quoted, and it may be a secret")
	}
}

func FuzzOptions(f *testing.F) {
	f.Add("key", "90")
	f.Add("k", "106752d")
	f.Add("", "1e400")
	f.Fuzz(func(t *testing.T, key, value string) {
		o := NewOptions(map[string]any{key: value})
		o.Bool("a", false)
		o.Int("b", 0)
		if d := o.Duration(strings.ToLower(key), time.Second); d <= 0 {
			t.Errorf("duration %q is %s", value, d)
		}
		_ = o.Err()
	})
}

func TestFileRemembersAndForgets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	f := &File{Path: path, What: "thing", Remove: true}
	var ce *CredentialError
	if _, err := f.Read(); !errors.As(err, &ce) || !errors.Is(err, os.ErrNotExist) && !strings.Contains(err.Error(), "no such file") {
		t.Errorf("an absent file: %v", err)
	}
	put := func(s string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(s), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	put(" \n")
	if _, err := f.Read(); !errors.As(err, &ce) {
		t.Errorf("an empty file: %v", err)
	}
	put(" value\n")
	if f.Peek() != "value" {
		t.Error("Peek does not see the value")
	}
	if v, err := f.Read(); v != "value" || err != nil || f.Spent(nil) != nil {
		t.Errorf("read %q, %v", v, err)
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("the file was not removed")
	}
	if v, err := f.Read(); v != "value" || err != nil || f.Peek() != "value" {
		t.Errorf("read again: %q, %v", v, err)
	}
	f.Forget()
	if _, err := f.Read(); err == nil {
		t.Error("remembered after Forget")
	}
	put("a\x00b")
	if _, err := f.Read(); err == nil {
		t.Error("NUL bytes pass")
	}
	if _, err := (&File{Path: t.TempDir(), What: "thing"}).Read(); err == nil {
		t.Error("a directory passes")
	}
}

func TestFileRemovesLinkOrTarget(t *testing.T) {
	for _, follow := range []bool{false, true} {
		dir := t.TempDir()
		target, link := filepath.Join(dir, "target"), filepath.Join(dir, "link")
		if err := os.WriteFile(target, []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(target, link); err != nil {
			t.Skip(err)
		}
		f := &File{Path: link, What: "thing", Remove: true, FollowSymlinks: follow}
		if _, err := f.Read(); err != nil || f.Spent(nil) != nil {
			t.Fatal(err)
		}
		_, terr := os.Lstat(target)
		_, lerr := os.Lstat(link)
		if (terr != nil) != follow || (lerr != nil) == follow {
			t.Errorf("follow %v: target %v, link %v", follow, terr, lerr)
		}
	}
}

func TestFingerprint(t *testing.T) {
	if Fingerprint("", "") != "" || Fingerprint("a", "b") == Fingerprint("ab", "") || Fingerprint("a") != Fingerprint("a") { //nolint:staticcheck // that it is the same is the point
		t.Error("fingerprints do not tell values apart")
	}
}
