//go:build linux

package conformance

import (
	"bufio"
	"fmt"
	"io"
	"strings"
	"sync"
	"time"
)

// transcript holds the lines of a stream and lets a test wait for one.
type transcript struct {
	mu       sync.Mutex
	lines    []string
	taken    int // lines up to here were looked at by next
	news     chan struct{}
	finished chan struct{}
}

func newTranscript() *transcript {
	return &transcript{news: make(chan struct{}), finished: make(chan struct{})}
}

func (tr *transcript) readFrom(r io.Reader) {
	defer tr.finish()
	reader := bufio.NewReader(r)
	for {
		line, err := reader.ReadString('\n')
		if line != "" {
			tr.mu.Lock()
			tr.lines = append(tr.lines, strings.TrimRight(line, "\r\n"))
			close(tr.news)
			tr.news = make(chan struct{})
			tr.mu.Unlock()
		}
		if err != nil {
			return
		}
	}
}

func (tr *transcript) finish() { close(tr.finished) }

// drain waits for the end of the stream, but not for a stranger who holds it open.
func (tr *transcript) drain() {
	select {
	case <-tr.finished:
	case <-time.After(patience):
	}
}

// next waits for a line with the prefix among those not yet taken; the ones before it are taken too.
func (tr *transcript) next(prefix string, limit time.Duration) (string, error) {
	timeout := time.After(limit)
	for ended := false; ; {
		tr.mu.Lock()
		for ; tr.taken < len(tr.lines); tr.taken++ {
			if rest, ok := strings.CutPrefix(tr.lines[tr.taken], prefix); ok {
				tr.taken++
				tr.mu.Unlock()
				return rest, nil
			}
		}
		news := tr.news
		tr.mu.Unlock()
		if ended {
			return "", fmt.Errorf("the stream ended without a line %q", prefix)
		}
		select {
		case <-news:
		case <-tr.finished:
			ended = true
		case <-timeout:
			return "", fmt.Errorf("no line %q within %v", prefix, limit)
		}
	}
}

// all returns the lines so far.
func (tr *transcript) all() []string {
	tr.mu.Lock()
	defer tr.mu.Unlock()
	return append([]string(nil), tr.lines...)
}

func (tr *transcript) text() string { return strings.Join(tr.all(), "\n") }

// count counts the lines that equal the given one.
func (tr *transcript) count(line string) (n int) {
	for _, have := range tr.all() {
		if have == line {
			n++
		}
	}
	return n
}
