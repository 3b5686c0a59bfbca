package vaulttest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"slices"
	"sync"
)

// RunProgram gives programs that are no tests (the demo, the benchmarks) a T.
// It calls f in a goroutine of its own, runs the cleanups, last first, and
// returns what ended f: nil, the message of Fatalf or Skipf, or ctx's cause. In
// that last case f may still be running while the servers go away under it.
func RunProgram(ctx context.Context, f func(T)) error {
	p := &program{}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f(p)
	}()
	select {
	case <-done:
	case <-ctx.Done():
		p.fail(context.Cause(ctx))
	}
	p.clean()
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.err
}

type program struct {
	mu       sync.Mutex
	cleanups []func()
	err      error
}

func (p *program) fail(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.err == nil {
		p.err = err
	}
}

func (p *program) clean() {
	p.mu.Lock()
	cleanups := p.cleanups
	p.cleanups = nil
	p.mu.Unlock()
	for _, f := range slices.Backward(cleanups) {
		f()
	}
}

func (p *program) Cleanup(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.cleanups = append(p.cleanups, f)
}

func (p *program) Fatalf(format string, args ...any) {
	p.fail(fmt.Errorf(format, args...))
	runtime.Goexit()
}

func (p *program) Skipf(format string, args ...any) {
	p.fail(errors.New("cannot go on: " + fmt.Sprintf(format, args...)))
	runtime.Goexit()
}

func (p *program) TempDir() string {
	dir, err := os.MkdirTemp("", "envexec")
	if err != nil {
		p.Fatalf("make temporary directory: %v", err)
	}
	p.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

func (*program) Helper() {}

func (*program) Logf(format string, args ...any) { fmt.Printf(format+"\n", args...) }
