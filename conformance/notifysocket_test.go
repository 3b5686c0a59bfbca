//go:build linux

package conformance

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// notifySocket plays the service manager's part of the sd_notify protocol.
type notifySocket struct {
	t    testing.TB
	path string
	fd   int

	mu       sync.Mutex
	messages []message
	taken    int
	done     chan struct{}
}

// message is one datagram with the descriptors that came along.
type message struct {
	text string
	fds  []int
	at   time.Time
}

func newNotifySocket(t testing.TB) *notifySocket {
	t.Helper()
	return newNotifySocketAt(t, filepath.Join(tempDir(t), "notify"))
}

// newNotifySocketAt listens at a path, or at an abstract name that starts with @.
func newNotifySocketAt(t testing.TB, path string) *notifySocket {
	t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrUnix{Name: path})
	}
	if err != nil {
		t.Fatal(err)
	}
	if path[0] != '@' {
		_ = os.Chmod(path, 0o777) //nolint:gosec // for programs of other users
	}
	// A receive that ends now and then lets the reader see the test's end.
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Usec: 20000})
	n := &notifySocket{t: t, path: path, fd: fd, done: make(chan struct{})}
	ended := make(chan struct{})
	go func() { defer close(ended); n.receive() }()
	t.Cleanup(func() { close(n.done); <-ended; _ = unix.Close(fd) })
	return n
}

func (n *notifySocket) receive() {
	buffer, rights := make([]byte, 8192), make([]byte, 256)
	for {
		select {
		case <-n.done:
			return
		default:
		}
		size, rightsSize, _, _, err := unix.Recvmsg(n.fd, buffer, rights, unix.MSG_CMSG_CLOEXEC)
		if err != nil || size == 0 {
			continue
		}
		m := message{text: string(buffer[:size]), at: time.Now()}
		if controls, err := syscall.ParseSocketControlMessage(rights[:rightsSize]); err == nil {
			for i := range controls {
				if fds, err := syscall.ParseUnixRights(&controls[i]); err == nil {
					m.fds = append(m.fds, fds...)
				}
			}
		}
		if strings.HasPrefix(m.text, "BARRIER=1") { // answered by closing
			for _, fd := range m.fds {
				_ = unix.Close(fd)
			}
			m.fds = nil
		}
		n.mu.Lock()
		n.messages = append(n.messages, m)
		n.mu.Unlock()
	}
}

// all returns the datagrams so far.
func (n *notifySocket) all() []message {
	n.mu.Lock()
	defer n.mu.Unlock()
	return append([]message(nil), n.messages...)
}

// lines returns every line of every datagram so far.
func (n *notifySocket) lines() []string {
	var lines []string
	for _, m := range n.all() {
		lines = append(lines, strings.Split(strings.TrimSuffix(m.text, "\n"), "\n")...)
	}
	return lines
}

// mark waits until everything that was sent before is among the datagrams.
func (n *notifySocket) mark() {
	n.t.Helper()
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		n.t.Fatal(err)
	}
	defer func() { _ = unix.Close(fd) }()
	if err := unix.Sendto(fd, []byte("MARK=1"), 0, &unix.SockaddrUnix{Name: n.path}); err != nil {
		n.t.Fatal(err)
	}
	n.expect("MARK=1")
}

// count counts lines that start with a prefix.
func (n *notifySocket) count(prefix string) (count int) {
	for _, line := range n.lines() {
		if strings.HasPrefix(line, prefix) {
			count++
		}
	}
	return count
}

// expect waits for a datagram, after those already taken, with a line of that prefix.
func (n *notifySocket) expect(prefix string) message {
	n.t.Helper()
	var found message
	eventually(n.t, "a notification "+prefix, func() bool {
		messages := n.all()
		for ; n.taken < len(messages); n.taken++ {
			for line := range strings.SplitSeq(messages[n.taken].text, "\n") {
				if strings.HasPrefix(line, prefix) {
					found = messages[n.taken]
					n.taken++
					return true
				}
			}
		}
		return false
	})
	return found
}
