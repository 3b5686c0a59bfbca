package sealed

import (
	"context"
	"errors"
	"strings"
	"time"
)

// Part is one user's share of a File: its records are apart from everybody else's.
type Part struct {
	file   *File
	prefix string
}

// Part returns the share called name. Several of one name are the same share.
func (f *File) Part(name string) *Part { return &Part{f, name + "/"} }

// Load returns the share's records. The map is the caller's, the values are not to be changed.
func (p *Part) Load() map[string][]byte {
	p.file.mu.Lock()
	defer p.file.mu.Unlock()
	own := map[string][]byte{}
	for name, value := range p.file.records {
		if short, ok := strings.CutPrefix(name, p.prefix); ok {
			own[short] = value
		}
	}
	return own
}

// Save is File.Save for the share's records.
func (p *Part) Save(put map[string][]byte, remove []string) error {
	all := make(map[string][]byte, len(put))
	for name, value := range put {
		all[p.prefix+name] = value
	}
	gone := make([]string, len(remove))
	for i, name := range remove {
		gone[i] = p.prefix + name
	}
	return p.file.Save(all, gone)
}

// lookEvery is how often the key is looked at: Kubernetes rotates a token at 80% of
// its hour and removes the old one, and what is sealed with that is lost at a restart.
const lookEvery = 30 * time.Second

// Run seals the file anew whenever its key changes, the last time when ctx ends. It returns nil.
func (f *File) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for warned := false; ctx.Err() == nil; {
		select {
		case <-ctx.Done():
		case <-tick.C:
		}
		err := f.Save(nil, nil)
		if err != nil && !warned {
			f.log.Warn("sealed cache was not sealed with its new key", "path", f.cfg.Path, "error", err)
		}
		warned = err != nil
	}
	return nil
}

// Forget removes the file from disk. Its records can still be loaded; Save keeps
// nothing from now on.
func (f *File) Forget() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.forgotten = true
	return errors.Join(f.close(), f.disk.remove(f.cfg.Path))
}
