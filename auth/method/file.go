package method

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"
)

var errEmpty = errors.New("the file is empty")

const maxFile = 1 << 20

// File is a credential in a file. It is read anew at each Read; when it has
// been removed since, the last value read is used. Safe for concurrent use.
type File struct {
	// Path may name an inherited descriptor, as /dev/fd/3 does: that is read once, to its
	// end, and closed, so that the program does not inherit it.
	Path string
	What string // names the credential in errors
	// Remove lets Spent delete the file. With FollowSymlinks, a symlink's target is
	// deleted instead of the link.
	Remove, FollowSymlinks bool
	// Verbatim keeps white space except line ends at the end: for passwords.
	Verbatim bool

	mu    sync.Mutex
	last  string
	seen  fs.FileInfo // of the file Read got last from; nil = none that Spent may delete
	taken bool        // the descriptor was read
}

// Read returns the trimmed content. A file that is absent or empty gives the
// last value read; when there is none, the error is a *CredentialError.
func (f *File) Read() (string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	value, info, err := f.read()
	if err != nil || value == "" {
		if f.last != "" {
			return f.last, nil
		}
		if err == nil {
			err = errEmpty
		}
		return "", &CredentialError{What: f.What, Path: f.Path, Err: cause(err), Hint: f.hint(err)}
	}
	f.last, f.seen = value, info
	return value, nil
}

// Spent deletes the file, with Remove, once Vault has given its word on a login with
// what Read got from it, which ended with err. While there is no such word it stays: a
// process that is started anew has nothing else to log in with.
func (f *File) Spent(err error) error {
	if !f.Remove || !answered(err) {
		return nil
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.seen == nil || f.taken {
		return nil
	}
	defer func() { f.seen = nil }()
	return f.remove()
}

// hint says what to do about a file that holds no credential.
func (f *File) hint(err error) string {
	absent := errors.Is(err, fs.ErrNotExist)
	switch {
	case absent && f.Remove:
		return fmt.Sprintf("nothing was sent to Vault; the file is removed once Vault has answered, so each start needs a new one: deliver the %s anew, or keep its file by a remove_… setting", f.What)
	case absent, errors.Is(err, errEmpty):
		return fmt.Sprintf("nothing was sent to Vault; write the %s into that file, or name another", f.What)
	case errors.Is(err, fs.ErrPermission):
		return "nothing was sent to Vault; let the user envexec runs as read that file"
	}
	return ""
}

// Peek returns what Read would, without removing or remembering anything; "" when there is nothing.
func (f *File) Peek() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	if v, _, err := f.read(); err == nil && v != "" {
		if f.taken {
			f.last = v
		}
		return v
	}
	return f.last
}

// Forget drops the remembered value: it is spent.
func (f *File) Forget() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last = ""
}

func (f *File) read() (string, fs.FileInfo, error) {
	file, err := f.open()
	if err != nil {
		return "", nil, err
	}
	info, _ := file.Stat()
	b, err := whole(file)
	if err != nil {
		return "", nil, err
	}
	if bytes.IndexByte(b, 0) >= 0 {
		return "", nil, errors.New("it holds NUL bytes")
	}
	b = bytes.TrimPrefix(b, []byte("\xef\xbb\xbf")) // the mark Windows' tools put before text
	if f.Verbatim {
		return strings.TrimRight(string(b), "\r\n"), info, nil
	}
	return strings.TrimSpace(string(b)), info, nil
}

func (f *File) open() (*os.File, error) {
	if fd, ok := descriptor(f.Path); ok {
		if f.taken {
			return nil, errors.New("the descriptor was read already")
		}
		if err := inherited(fd); err != nil {
			return nil, err
		}
		f.taken = true
		return os.NewFile(uintptr(fd), f.Path), nil
	}
	return regular(f.Path)
}

// ReadFile is os.ReadFile for a credential: it never waits, as for the writer of a
// pipe, and refuses what is larger than 1 MiB.
func ReadFile(path string) ([]byte, error) {
	file, err := regular(path)
	if err != nil {
		return nil, err
	}
	return whole(file)
}

func regular(path string) (*os.File, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() { // opening a pipe would wait for its writer
		return nil, errors.New("it is not a regular file")
	}
	return os.Open(path)
}

// whole reads file to its end and closes it.
func whole(file *os.File) ([]byte, error) {
	defer func() { _ = file.Close() }()
	b, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(b) > maxFile {
		err = errors.New("it is larger than 1 MiB")
	}
	return b, err
}

// descriptor returns the number in a path that names one. Standard input, output and
// error are the program's and are not taken.
func descriptor(path string) (fd int, ok bool) {
	for _, dir := range []string{"/dev/fd/", "/proc/self/fd/"} {
		if n, found := strings.CutPrefix(path, dir); found {
			fd, err := strconv.Atoi(n)
			return fd, err == nil && fd > 2
		}
	}
	return 0, false
}

func (f *File) remove() error {
	path := f.Path
	if f.FollowSymlinks {
		if target, err := filepath.EvalSymlinks(path); err == nil {
			path = target
		}
	}
	// What was put in its place since has not been read.
	if now, err := os.Stat(path); err == nil && (!os.SameFile(now, f.seen) || now.ModTime() != f.seen.ModTime()) {
		return nil
	}
	if err := os.Remove(path); err != nil {
		return fmt.Errorf("remove the %s after reading it: %w", f.What, err)
	}
	return nil
}

// Fingerprint identifies values without revealing them; "" when all are empty.
func Fingerprint(values ...string) string {
	h := sha256.New()
	empty := true
	for _, v := range values {
		empty = empty && v == ""
		fmt.Fprintf(h, "%d:%s", len(v), v)
	}
	if empty {
		return ""
	}
	return hex.EncodeToString(h.Sum(nil))
}

// cause drops the path an *fs.PathError repeats.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// ReadPeriod is how often a credential file is looked at when nothing says
// otherwise: soon when it is removed after reading.
func ReadPeriod(removed bool) time.Duration {
	if removed {
		return 500 * time.Millisecond
	}
	return time.Minute
}
