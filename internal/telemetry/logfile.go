package telemetry

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/envexec/envexec/internal/files"
)

// Rotation says when a log file is put aside, as Vault's log_rotate_… keys do.
type Rotation struct {
	MaxBytes int64         // 0 = whatever its size
	MaxAge   time.Duration // 0 = whatever its age
	MaxFiles int           // put aside ones that are kept; 0 = all, negative = none
}

// LogFile is a file that is put aside as BASE-NANOSECONDS.EXT when it is too large or too
// old. The zero value swallows what is written. It is safe for concurrent use.
type LogFile struct {
	mu       sync.Mutex
	path     string
	rotation Rotation
	file     *os.File
	size     int64
	since    time.Time

	now func() time.Time // nil = time.Now
}

// Open goes on with another file, mode 0640, or none (""); the one before is closed. A
// directory stands for vault.log in it. After an error the one before stays.
func (l *LogFile) Open(path string, r Rotation) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if path != "" && (strings.HasSuffix(path, string(filepath.Separator)) || isDir(path)) {
		path = filepath.Join(path, "vault.log")
	}
	if path == l.path && l.file != nil {
		l.rotation = r
		return nil
	}
	if path == "" {
		l.close()
		l.path = ""
		return nil
	}
	next := LogFile{path: path, rotation: r, now: l.now}
	if err := next.open(); err != nil {
		return err
	}
	l.close()
	l.path, l.rotation, l.file, l.size, l.since = next.path, next.rotation, next.file, next.size, next.since
	return l.prune()
}

func isDir(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.IsDir()
}

func (l *LogFile) open() error {
	f, err := files.OpenLog(l.path)
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return errors.Join(err, f.Close())
	}
	l.file, l.size, l.since = f, info.Size(), l.time()
	return nil
}

func (l *LogFile) close() {
	if l.file != nil {
		_ = l.file.Close()
		l.file = nil
	}
}

func (l *LogFile) time() time.Time {
	if l.now != nil {
		return l.now()
	}
	return time.Now()
}

// Write implements io.Writer.
func (l *LogFile) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.file == nil {
		return len(line), nil
	}
	tooLarge := l.rotation.MaxBytes > 0 && l.size >= l.rotation.MaxBytes
	tooOld := l.rotation.MaxAge > 0 && l.time().Sub(l.since) >= l.rotation.MaxAge
	if tooLarge || tooOld {
		if err := l.rotate(); err != nil {
			return 0, err
		}
	}
	n, err := l.file.Write(line)
	l.size += int64(n)
	return n, err
}

// rotate puts the file aside and begins another. If that fails the old one goes on.
func (l *LogFile) rotate() error {
	l.since = l.time() // also after a failure: not with every line
	ext := filepath.Ext(l.path)
	aside := fmt.Sprintf("%s-%d%s", strings.TrimSuffix(l.path, ext), l.since.UnixNano(), ext)
	if ext == "" {
		aside += ".log"
	}
	if err := os.Rename(l.path, aside); err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil //nolint:nilerr // the line is worth more than the rotation
	}
	old := l.file
	if err := l.open(); err != nil {
		l.file = old
		return nil //nolint:nilerr // as above
	}
	_ = old.Close()
	return l.prune()
}

// prune removes the oldest of those put aside; their names sort by age.
func (l *LogFile) prune() error {
	if l.rotation.MaxFiles == 0 {
		return nil
	}
	ext := filepath.Ext(l.path)
	pattern := strings.TrimSuffix(filepath.Base(l.path), ext) + "-"
	if ext == "" {
		ext = ".log"
	}
	entries, err := os.ReadDir(filepath.Dir(l.path))
	if err != nil {
		return nil //nolint:nilerr // nothing can be removed then
	}
	var aside []string
	for _, e := range entries {
		stamp, ours := strings.CutPrefix(e.Name(), pattern)
		stamp, ours2 := strings.CutSuffix(stamp, ext)
		if ours && ours2 && stamp != "" && strings.Trim(stamp, "0123456789") == "" {
			aside = append(aside, e.Name())
		}
	}
	slices.Sort(aside)
	for _, name := range aside[:max(0, len(aside)-max(l.rotation.MaxFiles, 0))] {
		_ = os.Remove(filepath.Join(filepath.Dir(l.path), name))
	}
	return nil
}

// Tee writes to all of the writers, whatever becomes of the others.
func Tee(all ...io.Writer) io.Writer { return tee(all) }

type tee []io.Writer

func (t tee) Write(line []byte) (int, error) {
	var errs []error
	for _, w := range t {
		_, err := w.Write(line)
		errs = append(errs, err)
	}
	return len(line), errors.Join(errs...)
}
