package sealed

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var errStopped = errors.New("the machine stopped, or the disk is full")

// stopDisk does what is asked until a budget of bytes and steps is used up. Then
// every byte beyond it is lost and everything fails: as after SIGKILL (dead), or
// only what needs room (full).
type stopDisk struct {
	disk
	left int
	full bool
}

func newStopDisk(budget int, full bool) *stopDisk {
	real := realDisk()
	d := &stopDisk{left: budget, full: full}
	d.disk = disk{
		create: func(p string) (handle, error) { return d.opened(real.create, p) },
		extend: func(p string) (handle, error) { return d.opened(real.extend, p) },
		rename: func(a, b string) error {
			if !d.step() {
				return errStopped
			}
			return real.rename(a, b)
		},
		remove: func(p string) error {
			if !d.step() {
				return errStopped
			}
			return real.remove(p)
		},
	}
	return d
}

// step uses up one step; a full disk still renames and removes.
func (d *stopDisk) step() bool {
	if d.full {
		return true
	}
	d.left--
	return d.left >= 0
}

func (d *stopDisk) opened(open func(string) (handle, error), path string) (handle, error) {
	if !d.step() {
		return nil, errStopped
	}
	h, err := open(path)
	return &stopHandle{h, d}, err
}

type stopHandle struct {
	handle
	d *stopDisk
}

func (h *stopHandle) Write(b []byte) (int, error) {
	if n := max(h.d.left, 0); n < len(b) {
		h.d.left = -1
		_, _ = h.handle.Write(b[:n])
		return n, errStopped
	}
	h.d.left -= len(b)
	return h.handle.Write(b)
}

func (h *stopHandle) Sync() error {
	if !h.d.step() {
		return errStopped
	}
	return nil
}

func (h *stopHandle) Truncate(n int64) error {
	if !h.d.step() {
		return errStopped
	}
	return h.handle.Truncate(n)
}

// life saves a few times and returns the states that were promised, the last one
// being the newest whose Save returned without error.
func life(t *testing.T, path string, d *stopDisk) (promised []string, ended bool) {
	promised = []string{""}
	f, err := Open(Config{Path: path, Keys: key(goodKey), disk: &d.disk})
	if err != nil {
		return promised, true
	}
	defer f.Close()
	big := strings.Repeat("x", 3)
	for i, change := range []struct {
		put    string
		remove []string
		anew   bool
	}{{put: "a"}, {put: "b"}, {put: "c", remove: []string{"a"}}, {put: "d", anew: true}, {put: "e", remove: []string{"d"}}} {
		if change.anew {
			_ = f.close() // as when too many bytes are dead
		}
		err := f.Save(map[string][]byte{change.put: []byte(fmt.Sprint(big, i))}, change.remove)
		promised = append(promised, text(f.Load()))
		if err != nil {
			return promised, true
		}
	}
	return promised, false
}

func TestKilledAtEveryByte(t *testing.T) {
	for budget := 0; ; budget++ {
		path := filepath.Join(t.TempDir(), "cache")
		d := newStopDisk(budget, false)
		promised, died := life(t, path, d)
		f := open(t, path, key(goodKey), nil)
		got := text(f.Load())
		_ = f.Close()
		if !allowed(got, promised) {
			t.Fatalf("stopped after %d: found %q, promised %q", budget, got, promised)
		}
		if !died {
			if budget < 300 {
				t.Fatalf("only %d places to stop at", budget)
			}
			return
		}
	}
}

// allowed: what was saved last, or what the Save that died was about to save.
func allowed(got string, promised []string) bool {
	states := []string{"", "a=xxx0", "a=xxx0 b=xxx1", "b=xxx1 c=xxx2", "b=xxx1 c=xxx2 d=xxx3", "b=xxx1 c=xxx2 e=xxx4"}
	last := promised[len(promised)-1]
	for i, s := range states {
		if s == last {
			return got == s || i+1 < len(states) && got == states[i+1]
		}
	}
	return false
}

func TestFullDiskLosesNothing(t *testing.T) {
	for budget := 0; budget < 700; budget += 7 {
		path := filepath.Join(t.TempDir(), "cache")
		d := newStopDisk(budget, true)
		f, err := Open(Config{Path: path, Keys: key(goodKey), disk: &d.disk})
		if err != nil {
			continue
		}
		failed := 0
		for i := range 10 {
			if f.Save(map[string][]byte{fmt.Sprint(i): []byte("value")}, nil) != nil {
				failed++
			}
		}
		want := text(f.Load())
		if failed > 0 {
			d.left = 1 << 20 // somebody made room
			if err := f.Save(map[string][]byte{"after": []byte("1")}, nil); err != nil {
				t.Fatalf("budget %d: no way back: %v", budget, err)
			}
			want = text(f.Load())
		}
		_ = f.Close()
		if got := text(open(t, path, key(goodKey), nil).Load()); got != want || strings.Count(got, "=") < 10-failed {
			t.Fatalf("budget %d: got %q, want %q", budget, got, want)
		}
	}
}

// victim saves for ever and says what is safe, until somebody kills it.
func victim(dir string) {
	f, err := Open(Config{Path: filepath.Join(dir, "cache"), Keys: key(goodKey)})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	for i := 0; ; i++ {
		n := fmt.Appendf(nil, "%d", i)
		if err := f.Save(map[string][]byte{"n": n, "m": n, "pad": make([]byte, 50<<10)}, nil); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(i)
	}
}

func TestSIGKILL(t *testing.T) {
	for round := range 8 {
		dir := t.TempDir()
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "SEALED_TEST_VICTIM="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		said := -1
		for said < 20+7*round {
			if _, err := fmt.Fscanln(out, &said); err != nil {
				t.Fatal(err)
			}
		}
		time.AfterFunc(time.Duration(round)*300*time.Microsecond, func() { _ = cmd.Process.Kill() })
		for {
			if _, err := fmt.Fscanln(out, &said); err != nil {
				break
			}
		}
		_ = cmd.Wait()
		f := open(t, filepath.Join(dir, "cache"), key(goodKey), nil)
		n, m := string(f.Load()["n"]), string(f.Load()["m"])
		if n != m || n != fmt.Sprint(said) && n != fmt.Sprint(said+1) {
			t.Errorf("round %d: said %d, found %s and %s", round, said, n, m)
		}
		_ = f.Close()
	}
}
