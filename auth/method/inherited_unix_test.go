//go:build unix

package method

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestFileFromADescriptor: read once, by whoever asks first, and then closed.
func TestFileFromADescriptor(t *testing.T) {
	for name, first := range map[string]func(*File) string{
		"read": func(f *File) string { v, _ := f.Read(); return v },
		"peek": (*File).Peek,
	} {
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		fd, err := unix.Dup(int(r.Fd())) // as a shell hands it over: open on exec
		if err != nil {
			t.Fatal(err)
		}
		_, _ = w.WriteString("hvs.token\n")
		_, _ = w.Close(), r.Close()
		f := &File{Path: fmt.Sprintf("/dev/fd/%d", fd), What: "token", Remove: true}
		if v := first(f); v != "hvs.token" {
			t.Errorf("%s: got %q", name, v)
		}
		if v, err := f.Read(); v != "hvs.token" || f.Spent(nil) != nil || err != nil || f.Peek() != v {
			t.Errorf("%s: afterwards %q, %v", name, v, err)
		}
		if _, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0); !errors.Is(err, unix.EBADF) {
			t.Errorf("%s: the descriptor is still open: %v", name, err)
		}
	}
}

// TestOwnDescriptorsAreNotRead: a wrong number must not end in a file of our own.
func TestOwnDescriptorsAreNotRead(t *testing.T) {
	own, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = own.Close() }()
	for _, fd := range []int{int(own.Fd()), 987} {
		_, err := (&File{Path: fmt.Sprintf("/proc/self/fd/%d", fd), What: "token"}).Read()
		if err == nil || !strings.Contains(err.Error(), "was not handed to envexec") {
			t.Errorf("descriptor %d: %v", fd, err)
		}
	}
	if _, err := own.WriteString("x"); err != nil {
		t.Errorf("our own file was closed: %v", err)
	}
}
