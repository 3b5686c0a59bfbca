package sealed

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/envexec/envexec/internal/files"
	"github.com/envexec/envexec/secret"
)

func TestMain(m *testing.M) {
	if dir := os.Getenv("SEALED_TEST_VICTIM"); dir != "" {
		victim(dir)
	}
	goleak.VerifyTestMain(m)
}

func key(text string) KeySource {
	return func() ([]Key, error) { return []Key{{Text: secret.NewText(text)}}, nil }
}

const goodKey = "0123456789abcdef"

// open opens path and fails the test on error; log gets what is said.
func open(t testing.TB, path string, keys KeySource, log io.Writer) *File {
	t.Helper()
	if log == nil {
		log = io.Discard
	}
	f, err := Open(Config{Path: path, Keys: keys, Logger: slog.New(slog.NewTextHandler(log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func save(t testing.TB, f *File, kv ...string) {
	t.Helper()
	put := map[string][]byte{}
	for i := 0; i < len(kv); i += 2 {
		put[kv[i]] = []byte(kv[i+1])
	}
	if err := f.Save(put, nil); err != nil {
		t.Fatal(err)
	}
}

// text shows records for comparison.
func text(m map[string][]byte) string {
	var out []string
	for _, k := range slices.Sorted(maps.Keys(m)) {
		out = append(out, k+"="+string(m[k]))
	}
	return strings.Join(out, " ")
}

func TestRecordsComeBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	f := open(t, path, key(goodKey), nil)
	save(t, f, "a", "1", "b", "2", "empty", "")
	save(t, f, "a", "3")
	if err := f.Save(nil, []string{"b", "not there"}); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := f.Save(nil, nil); !errors.Is(err, os.ErrClosed) {
		t.Errorf("save after close: %v", err)
	}
	if got := text(open(t, path, key(goodKey), nil).Load()); got != "a=3 empty=" {
		t.Errorf("got %s", got)
	}
	data, _ := os.ReadFile(path)
	if info, _ := os.Stat(path); !files.HasMode(path, info, 0o600) || bytes.Contains(data, []byte("empty")) {
		t.Errorf("mode %v, or a name in clear", info.Mode())
	}
}

// TestAForeignFileIsNotReadWhole: it may be of any size, and memory is scarce beside a program.
func TestAForeignFileIsNotReadWhole(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	if err := errors.Join(os.WriteFile(path, []byte("something else"), 0o600), os.Truncate(path, 100<<20)); err != nil {
		t.Fatal(err)
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	f := open(t, path, key(goodKey), nil)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 50<<20 {
		t.Errorf("%d bytes for a foreign file", n)
	}
	save(t, f, "a", "one")
}

func TestEveryDamageIsRefused(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "cache")
	f := open(t, path, key(goodKey), nil)
	save(t, f, "a", "one")
	save(t, f, "b", "two")
	save(t, f, "c", "three")
	_ = f.Close()
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	try := func(name string, data []byte) {
		t.Helper()
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		var log bytes.Buffer
		f := open(t, path, key(goodKey), &log)
		defer f.Close()
		got := text(f.Load())
		if got != "" && !strings.HasPrefix("a=one b=two c=three", got) {
			t.Errorf("%s: got %q", name, got)
		}
		if got != "a=one b=two c=three" && log.Len() == 0 {
			// Only a cut between two records is silent: it is a file as it once was.
			if len(data) == headerSize || bytes.Equal(data, good[:len(data)]) && (got == "a=one" || got == "a=one b=two") {
				return
			}
			t.Errorf("%s: %q, and nothing said", name, got)
		}
		save(t, f, "new", "x")
		_ = f.Close()
		want := strings.TrimSpace(got + " new=x")
		f = open(t, path, key(goodKey), nil)
		defer f.Close()
		if again := text(f.Load()); again != want {
			t.Errorf("%s: after another save and another start: %q, want %q", name, again, want)
		}
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 0x40
		try(fmt.Sprintf("byte %d changed", i), bad)
		try(fmt.Sprintf("cut at %d", i), good[:i])
	}
	first, second := headerSize, headerSize+4+1+4+1+4+3+12+16
	third := second + (second - first)
	try("a record taken out", append(bytes.Clone(good[:first]), good[second:]...))
	try("two exchanged", slices.Concat(good[:first], good[second:third], good[first:second], good[third:]))
	try("one repeated", slices.Concat(good[:second], good[first:]))
	try("another program's file", []byte("SQLite format 3\x00"+strings.Repeat("x", 4096)))
}

func TestKeysAreExchanged(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	dir := t.TempDir()
	oldKey, newKey := filepath.Join(dir, "old"), filepath.Join(dir, "new")
	for p, text := range map[string]string{oldKey: "the old key's own text\n", newKey: " the new key's own text"} {
		if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	f := open(t, path, Files(oldKey), nil)
	save(t, f, "a", "1")
	_ = f.Close()

	f = open(t, path, Files(newKey, oldKey), nil)
	if got := text(f.Load()); got != "a=1" {
		t.Fatalf("with both keys: %q", got)
	}
	_ = f.Close()
	var log bytes.Buffer
	f = open(t, path, Files(newKey, filepath.Join(dir, "none")), &log)
	if got := text(f.Load()); got != "a=1" || log.Len() > 0 {
		t.Fatalf("with the new key: %q %s", got, log.String())
	}
	// Exchanged while it is open: a Kubernetes token does this.
	if err := os.WriteFile(newKey, []byte("a third key, of the running file"), 0o600); err != nil {
		t.Fatal(err)
	}
	save(t, f, "b", "2")
	if err := os.Remove(newKey); err != nil {
		t.Fatal(err)
	}
	save(t, f, "c", "3") // a key that is away for a moment
	_ = f.Close()
	if got := text(open(t, path, key("a third key, of the running file"), nil).Load()); got != "a=1 b=2 c=3" {
		t.Errorf("with the third key: %q", got)
	}
}

func TestWrongKeyStartsAfresh(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	f := open(t, path, key(goodKey), nil)
	save(t, f, "a", "1")
	_ = f.Close()
	var log bytes.Buffer
	f = open(t, path, key("fedcba9876543210"), &log)
	if len(f.Load()) != 0 || !strings.Contains(log.String(), "starting afresh") || strings.Contains(log.String(), goodKey) {
		t.Errorf("%d records, said %q", len(f.Load()), log.String())
	}
}

func TestPassphrase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	f := open(t, path, Passphrases(secret.NewText("sesame")), nil)
	save(t, f, "a", "1")
	_ = f.Close()
	if got := text(open(t, path, Passphrases(secret.NewText("sesame")), nil).Load()); got != "a=1" {
		t.Errorf("got %q", got)
	}
}

func TestConfigurationErrors(t *testing.T) {
	dir := t.TempDir()
	for name, cfg := range map[string]Config{
		"no path":          {Keys: key(goodKey)},
		"no key":           {Path: filepath.Join(dir, "c")},
		"short key":        {Path: filepath.Join(dir, "c"), Keys: key("short")},
		"empty passphrase": {Path: filepath.Join(dir, "c"), Keys: Passphrases(secret.Text{})},
		"no key file":      {Path: filepath.Join(dir, "c"), Keys: Files(filepath.Join(dir, "none"))},
		"no directory":     {Path: filepath.Join(dir, "none", "c"), Keys: key(goodKey)},
	} {
		if f, err := Open(cfg); err == nil {
			_ = f.Close()
			t.Errorf("%s: opened", name)
		} else if strings.Contains(err.Error(), "short\"") {
			t.Errorf("%s: the key is in %v", name, err)
		}
	}
	path := filepath.Join(dir, "cache")
	open(t, path, key(goodKey), nil)
	if _, err := Open(Config{Path: path, Keys: key(goodKey)}); !errors.Is(err, ErrInUse) {
		t.Errorf("opened twice: %v", err)
	}
}

func TestFileStaysInProportion(t *testing.T) {
	path := filepath.Join(t.TempDir(), "cache")
	f := open(t, path, key(goodKey), nil)
	value := strings.Repeat("x", 100<<10)
	for i := range 100 {
		save(t, f, "a", value+fmt.Sprint(i))
	}
	if info, _ := os.Stat(path); info.Size() > 2<<20 {
		t.Errorf("%d bytes for 100 KiB of records", info.Size())
	}
	_ = f.Close()
	if got := open(t, path, key(goodKey), nil).Load()["a"]; string(got) != value+"99" {
		t.Error("the last value did not come back")
	}
}

func BenchmarkSaveOneOf10000(b *testing.B) {
	f := open(b, filepath.Join(b.TempDir(), "cache"), key(goodKey), nil)
	put := map[string][]byte{}
	for i := range 10000 {
		put[fmt.Sprint("name", i)] = bytes.Repeat([]byte("v"), 200)
	}
	if err := f.Save(put, nil); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		save(b, f, "name5", "new")
	}
}

func FuzzRead(f *testing.F) {
	path := filepath.Join(f.TempDir(), "cache")
	c := open(f, path, key(goodKey), nil)
	save(f, c, "a", "1", "b", "2")
	save(f, c, "c", "3")
	_ = c.Close()
	good, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(good[:headerSize])
	f.Add([]byte(magic))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		head, err := parseHeader(data)
		if err != nil {
			return
		}
		b, err := newBox(head, []byte(goodKey))
		if err != nil {
			t.Fatal(err)
		}
		records := map[string][]byte{}
		_, _ = b.open(data[headerSize:], func(batch []byte) error { return applyBatch(records, new(string), batch) })
		if got := text(records); !strings.HasPrefix("a=1 b=2 c=3", got) {
			t.Errorf("forged: %q", got)
		}
		_ = applyBatch(records, new(string), data) // as if an old key had leaked
	})
}
