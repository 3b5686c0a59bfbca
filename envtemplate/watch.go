package envtemplate

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/fsnotify/fsnotify"
)

// stamp is what tells one state of a file from another; nil = it is not there.
type stamp struct{ info fs.FileInfo }

func stampOf(path string) stamp {
	info, err := os.Stat(path)
	if err != nil {
		return stamp{}
	}
	return stamp{info}
}

func (a stamp) same(b stamp) bool {
	if a.info == nil || b.info == nil {
		return a.info == nil && b.info == nil
	}
	return a.info.Size() == b.info.Size() && a.info.ModTime().Equal(b.info.ModTime()) && os.SameFile(a.info, b.info)
}

// notifier says that something happened in one of the directories added.
type notifier interface {
	Add(dir string) error
	Events() <-chan struct{} // coalescing
	Close()
}

// inotify is the system's notifier. Where it fails polling remains.
type inotify struct {
	w      *fsnotify.Watcher
	events chan struct{}
	done   chan struct{}
}

func newInotify() (notifier, error) {
	w, err := fsnotify.NewWatcher()
	if err != nil {
		return nil, err
	}
	n := &inotify{w: w, events: make(chan struct{}, 1), done: make(chan struct{})}
	go n.pump()
	return n, nil
}

func (n *inotify) pump() {
	defer close(n.done)
	for {
		select {
		case _, open := <-n.w.Events:
			if !open {
				return
			}
		case _, open := <-n.w.Errors: // lost events among them: look as well
			if !open {
				return
			}
		}
		select {
		case n.events <- struct{}{}:
		default:
		}
	}
}

func (n *inotify) Add(dir string) error { return n.w.Add(dir) }

func (n *inotify) Events() <-chan struct{} { return n.events }

func (n *inotify) Close() {
	_ = n.w.Close()
	<-n.done
}

// watch is the loop's eye on template files and the files templates include.
type watch struct {
	notify notifier
	dirs   map[string]bool
	lookAt time.Time // zero = nothing to look at
}

// quietFile is how long after an event we look: files are often written in pieces.
const quietFile = 100 * time.Millisecond

func (l *loop) events() <-chan struct{} {
	if l.watch.notify == nil {
		return nil
	}
	return l.watch.notify.Events()
}

// follow watches the directory of path from now on.
func (l *loop) follow(path string) {
	if l.watch.lookAt.IsZero() {
		l.watch.lookAt = time.Now().Add(l.cfg.poll)
	}
	dir := filepath.Dir(path)
	if l.watch.dirs[dir] {
		return
	}
	if l.watch.dirs == nil {
		l.watch.dirs = map[string]bool{}
		n, err := l.cfg.notify()
		if err != nil {
			l.log.Debug("files are polled only", "error", err)
		} else {
			l.watch.notify = n
		}
	}
	l.watch.dirs[dir] = true
	if l.watch.notify == nil {
		return
	}
	if err := l.watch.notify.Add(dir); err != nil {
		l.log.Debug("directory is polled only", "path", dir, "error", err)
	}
}

// look runs the units whose template or included file changed.
func (l *loop) look() {
	l.watch.lookAt = time.Now().Add(l.cfg.poll)
	for _, u := range l.units {
		if w, ok := u.work.(*templateWork); ok && w.text.source != "" {
			if now := stampOf(w.text.source); !now.same(w.stamp) {
				l.reload(u, w, now)
				continue
			}
		}
		for path, was := range u.includes {
			if !stampOf(path).same(was) {
				l.begin(u)
				break
			}
		}
	}
}

// reload gives u the new text of its template. One that cannot be used is reported
// and the old one stays.
func (l *loop) reload(u *unit, w *templateWork, now stamp) {
	fresh := *w
	fresh.stamp = now
	src, err := w.text.load()
	if err == nil {
		err = (&builder{cfg: &l.cfg, known: map[string]bool{}}).prepare(&fresh, src)
	}
	if err != nil {
		stale := *w
		stale.stamp = now // said once
		u.work = &stale
		err = fmt.Errorf("changed template is not used: %w", err)
		l.cfg.Trace.problem(u.name, err)
		l.log.Warn("secret cannot be rendered", "unit", u.name, "error", err)
		return
	}
	if src.text == w.src.text {
		u.work = &fresh
		return
	}
	l.log.Info("template changed", "unit", u.name, "path", w.text.source)
	u.equip(&fresh)
	if u.phase == waiting { // for what the old text reads
		u.phase = resting
		l.pending--
	}
	l.begin(u)
}
