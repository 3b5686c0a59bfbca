package auth

import (
	"context"
	"path/filepath"
	"strings"
	"time"

	"github.com/fsnotify/fsnotify"

	"github.com/envexec/envexec/auth/method"
	"github.com/envexec/envexec/internal/clock"
)

const (
	pollFiles = 10 * time.Second      // the net below file events
	settle    = 50 * time.Millisecond // a file is often written in several steps
)

// watch sends the credentials' fingerprint each time it has changed. Files are
// looked at when something happens in their directories, and polled besides:
// events are lost on network file systems and across symlink swaps.
func (s *Session) watch(ctx context.Context, c method.Credentials, changes chan<- string) {
	files, interval := c.Watch()
	if interval <= 0 {
		interval = pollFiles
	}
	var events <-chan fsnotify.Event
	var errs <-chan error
	var watcher *fsnotify.Watcher
	if len(files) > 0 {
		if w, err := fsnotify.NewWatcher(); err == nil {
			defer func() { _ = w.Close() }()
			watcher, events, errs = w, w.Events, w.Errors
		} else {
			s.cfg.Logger.Debug("file events are not available, polling", "error", err)
		}
	}
	last, first := "", true
	for {
		follow(watcher, files)
		asking, cancel := context.WithTimeout(ctx, s.cfg.RequestTimeout)
		print, err := c.Fingerprint(asking)
		cancel()
		if err == nil && (print != last || first) {
			select {
			case changes <- print:
			case <-ctx.Done():
				return
			}
			last, first = print, false
		}
		wait := time.NewTimer(min(interval, clock.MaxSleep))
		select {
		case <-ctx.Done():
			wait.Stop()
			return
		case <-events:
			wait.Reset(settle)
			quiet(ctx, events, wait)
		case <-errs: //nolint:errcheck // looking again and again stays as the net
		case <-wait.C:
		}
		wait.Stop()
	}
}

// quiet swallows events until the timer fires.
func quiet(ctx context.Context, events <-chan fsnotify.Event, timer *time.Timer) {
	for {
		select {
		case <-events:
		case <-ctx.Done():
			return
		case <-timer.C:
			return
		}
	}
}

// follow watches the directory of each file and of every symlink on the way to
// its target, so that a swap anywhere in the chain is seen.
func follow(w *fsnotify.Watcher, files []string) {
	if w == nil {
		return
	}
	want := map[string]bool{}
	for _, f := range files {
		if strings.HasPrefix(f, "/dev/fd/") || strings.HasPrefix(f, "/proc/") { // a descriptor, read once
			continue
		}
		want[filepath.Dir(f)] = true
		if target, err := filepath.EvalSymlinks(f); err == nil {
			want[filepath.Dir(target)] = true
		}
	}
	have := map[string]bool{}
	for _, dir := range w.WatchList() {
		have[dir] = true
		if !want[dir] {
			_ = w.Remove(dir)
		}
	}
	for dir := range want {
		if !have[dir] {
			_ = w.Add(dir) // polling stays as the net
		}
	}
}
