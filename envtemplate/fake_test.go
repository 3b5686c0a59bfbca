package envtemplate

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/envexec/envexec/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// fakeSource is a Source in memory that behaves as the lease store does: the first
// value of a secret is news as well, and one once had is never taken back.
type fakeSource struct {
	mu       sync.Mutex
	values   map[secret.Key]*secret.Secret
	refused  map[secret.Key]error
	came     chan struct{} // closed and replaced when something came
	gets     map[secret.Key]int
	released []secret.Key
	dirty    map[secret.Key]bool
	changed  chan struct{}
	epoch    uint64
}

func newFake() *fakeSource {
	return &fakeSource{
		values: map[secret.Key]*secret.Secret{}, refused: map[secret.Key]error{}, came: make(chan struct{}),
		gets: map[secret.Key]int{}, dirty: map[secret.Key]bool{}, changed: make(chan struct{}, 1), epoch: 1,
	}
}

// kv sets a KV v2 secret.
func (f *fakeSource) kv(path string, data map[string]any) {
	f.set(&secret.Secret{Request: secret.Request{Path: path}, KV: 2, Data: map[string]any{"data": data, "metadata": map[string]any{}}})
}

func (f *fakeSource) set(s *secret.Secret) {
	f.mu.Lock()
	defer f.mu.Unlock()
	k := s.Request.Key()
	f.values[k] = s
	delete(f.refused, k)
	f.news(k)
}

// refuse makes reads of req fail at once.
func (f *fakeSource) refuse(req secret.Request, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refused[req.Key()] = fmt.Errorf("%s: %w", req, err)
	f.wake()
}

func (f *fakeSource) login(epoch uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.epoch = epoch
	f.tell()
}

// news is told of secrets somebody asked for.
func (f *fakeSource) news(k secret.Key) {
	f.wake()
	if f.gets[k] > 0 {
		f.dirty[k] = true
		f.tell()
	}
}

func (f *fakeSource) wake() {
	close(f.came)
	f.came = make(chan struct{})
}

func (f *fakeSource) tell() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

func (f *fakeSource) Get(ctx context.Context, req secret.Request) (*secret.Secret, error) {
	k := req.Key()
	if strings.Contains(req.Path, "/cert/") { // asked aside, by recall
		f.mu.Lock()
		defer f.mu.Unlock()
		if s := f.values[k]; s != nil {
			return s, nil
		}
		return nil, fmt.Errorf("%s: %w", req, secret.ErrMissing)
	}
	for first := true; ; first = false {
		f.mu.Lock()
		if first {
			if f.gets[k]++; f.gets[k] == 1 && f.values[k] != nil {
				f.news(k)
			}
		}
		s, err, came := f.values[k], f.refused[k], f.came
		f.mu.Unlock()
		switch {
		case s != nil:
			return s, nil
		case err != nil:
			return nil, err
		}
		select {
		case <-came:
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
}

// asked is how often req was read; with no request, how many secrets were.
func (f *fakeSource) asked(req ...secret.Request) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(req) == 0 {
		return len(f.gets)
	}
	return f.gets[req[0].Key()]
}

func (f *fakeSource) Changed() <-chan struct{} { return f.changed }

func (f *fakeSource) Take() []secret.Key {
	f.mu.Lock()
	defer f.mu.Unlock()
	var keys []secret.Key
	for k := range f.dirty {
		keys = append(keys, k)
	}
	clear(f.dirty)
	return keys
}

func (f *fakeSource) Release(keys ...secret.Key) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.released = append(f.released, keys...)
}

func (f *fakeSource) Epoch() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.epoch
}

// start runs a Renderer until the test ends; stop returns what Run returned.
func start(t *testing.T, cfg Config) (r *Renderer, stop func() error) {
	t.Helper()
	r, err := New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Run(ctx) }()
	var once sync.Once
	var result error
	stop = func() error {
		once.Do(func() { cancel(); result = <-done })
		return result
	}
	t.Cleanup(func() { _ = stop() })
	return r, stop
}

func discard() *slog.Logger { return slog.New(slog.DiscardHandler) }

// launch is start for benchmarks.
func launch(b *testing.B, cfg Config) (*Renderer, func()) {
	b.Helper()
	r, err := New(cfg)
	if err != nil {
		b.Fatal(err)
	}
	ctx, cancel := context.WithCancel(b.Context())
	done := make(chan struct{})
	go func() { defer close(done); _ = r.Run(ctx) }()
	return r, func() { cancel(); <-done }
}
