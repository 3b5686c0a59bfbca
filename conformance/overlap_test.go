//go:build linux

package conformance

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// freePort returns a loopback address that nobody listens on.
func freePort(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // only asked for its number
	return l.Addr().String()
}

// overlapping are the flags of a program with a held socket that proves its readiness by notify.
func overlapping(address string, more ...string) []string {
	return rotating(append([]string{"--on-change", "overlap", "--ready", "notify", "--listen", "web=tcp://" + address}, more...)...)
}

// server is the script of a well-behaved HTTP server; more goes before it says that it is ready.
func server(more ...string) []string {
	script := append(program("http", "drain"), more...)
	return append(script, "notify=READY=1", "env=VALUE", "wait")
}

// clients ask without keep-alive until stopped and count what fails.
type clients struct {
	ok, failed atomic.Int64
	first      atomic.Value // the first error
	stop       context.CancelFunc
	group      sync.WaitGroup
}

func newClients(t testing.TB, number int, network, address string) *clients {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	c := &clients{stop: stop}
	transport := &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{Timeout: patience}).DialContext(ctx, network, address)
		},
	}
	for range number {
		c.group.Go(func() {
			for ctx.Err() == nil {
				if _, err := ask(transport); err != nil {
					c.first.CompareAndSwap(nil, err)
					c.failed.Add(1)
				} else {
					c.ok.Add(1)
				}
			}
		})
	}
	t.Cleanup(c.end)
	return c
}

func (c *clients) end() { c.stop(); c.group.Wait() }

// ask makes one request; the answer is "pid value".
func ask(transport *http.Transport) (string, error) {
	response, err := (&http.Client{Transport: transport, Timeout: patience}).Get("http://service/")
	if err != nil {
		return "", err
	}
	defer response.Body.Close() //nolint:errcheck // read to its end
	text, err := io.ReadAll(response.Body)
	return string(text), err
}

// asked is one request to an address.
func asked(t testing.TB, network, address string) (pid int, value string) {
	t.Helper()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}}
	text, err := ask(transport)
	if err != nil {
		t.Fatal(err)
	}
	number, value, _ := strings.Cut(text, " ")
	pid, _ = strconv.Atoi(number)
	return pid, value
}

func TestO1(t *testing.T) {
	t.Parallel()
	inPlaces(t, "plain docker-net", func(t *testing.T, at place) { noneFails(t, at, 25, overlapping) })
}

// O2: the program stops first, the socket stays: clients wait in its queue.
func TestO2(t *testing.T) {
	t.Parallel()
	noneFails(t, plain{}, 5, func(address string, more ...string) []string {
		return rotating(append([]string{"--ready", "notify", "--listen", "web=tcp://" + address}, more...)...)
	})
}

func noneFails(t *testing.T, at place, rotations int, flags func(string, ...string) []string) {
	t.Helper()
	vault, address := newVault(t), freePort(t)
	p := start(t, command{place: at, flags: flags(address), args: server(), env: vault.env()})
	p.line("env VALUE=1")
	crowd := newClients(t, 32, "tcp", address)
	for i := range rotations {
		p.rotate(vault, fmt.Sprint("v", i))
		p.line(fmt.Sprint("env VALUE=v", i))
	}
	crowd.end()
	if crowd.failed.Load() != 0 || crowd.ok.Load() < 100 {
		t.Errorf("%d requests answered, %d failed, first with %v", crowd.ok.Load(), crowd.failed.Load(), crowd.first.Load())
	}
}

func TestO3(t *testing.T) {
	t.Parallel()
	address, path := freePort(t), filepath.Join(tempDir(t), "b.sock")
	flags := []string{"--listen", "a=tcp://" + address, "--listen", "b=unix://" + path}
	p := start(t, command{flags: flags, args: program("dump", "listen", "wait")})
	fds := p.dump().FDs
	bare := start(t, command{under: none, args: program("dump", "wait")}).dump().FDs
	for fd, target := range fds { // beside those, only what the tester's own shell leaves open
		if _, known := bare[fd]; !known && fd != 3 && fd != 4 {
			t.Errorf("descriptor %d (%s) reached the program", fd, target)
		}
	}
	if got := p.line("listen "); got != "pid-ok=true fds=2 names=a:b" {
		t.Errorf("program was told %q", got)
	}
	if got := p.line("sockets "); got != address+" "+path {
		t.Errorf("sockets are %q", got)
	}
	t.Run("go-systemd", func(t *testing.T) {
		flags := []string{"--listen", "a=tcp://" + freePort(t)}
		p := start(t, command{flags: flags, args: program("peer", "wait")})
		if got := p.line("peer "); got != "a "+strings.TrimPrefix(flags[1], "a=tcp://") {
			t.Errorf("go-systemd found %q", got)
		}
	})
	t.Run("libsystemd", func(t *testing.T) {
		if _, err := os.Stat("/usr/bin/python3"); err != nil {
			require(t, "systemd", err)
		}
		ask := `import ctypes; l = ctypes.CDLL("libsystemd.so.0"); names = ctypes.POINTER(ctypes.c_char_p)()
n = l.sd_listen_fds_with_names(0, ctypes.byref(names)); print("fds", n, [names[i].decode() for i in range(n)])`
		p := start(t, command{
			flags: []string{"--listen", "a=tcp://" + freePort(t), "--listen", "b=tcp://" + freePort(t)},
			args:  []string{"/usr/bin/python3", "-c", ask},
		})
		if got := p.line("fds "); got != "2 ['a', 'b']" {
			t.Errorf("libsystemd found %q", got)
		}
	})
}

// keepsOld rotates to a bad value and expects the old program to go on serving, then to a good one.
func keepsOld(t *testing.T, vault *scripted, p *process, address string, bad string) {
	t.Helper()
	old, _ := asked(t, "tcp", address)
	p.rotate(vault, bad)
	p.line("tried " + bad)
	eventually(t, "the new program is gone", func() bool { return len(childrenOf(p.W())) == 1 })
	if pid, value := asked(t, "tcp", address); pid != old || value != "1" {
		t.Errorf("pid %d with %q serves, want the old %d with 1", pid, value, old)
	}
	if !strings.Contains(p.err.text(), "level=ERROR") && !strings.Contains(p.err.text(), "level=WARN") {
		t.Errorf("nothing said about it:\n%s", p.err.text())
	}
	p.rotate(vault, "good")
	p.line("env VALUE=good")
	eventually(t, "the good one serves", func() bool {
		_, value := asked(t, "tcp", address)
		return value == "good"
	})
}

func TestO4(t *testing.T) {
	t.Parallel()
	vault, address := newVault(t), freePort(t)
	p := start(t, command{
		flags: overlapping(address, "--ready-timeout", "500ms"), env: vault.env(),
		args: append(program("when=bad", "{", "ignore=TERM", "say=tried bad", "wait", "}"), server()[1:]...),
	})
	p.line("env VALUE=1")
	keepsOld(t, vault, p, address, "bad")
}

func TestO5(t *testing.T) {
	t.Parallel()
	for _, end := range []string{"exit=0", "exit=1", "die=SEGV"} {
		t.Run(end, func(t *testing.T) {
			vault, address := newVault(t), freePort(t)
			p := start(t, command{
				flags: overlapping(address), env: vault.env(),
				args: append(program("when=bad", "{", "say=tried bad", end, "}"), server()[1:]...),
			})
			p.line("env VALUE=1")
			keepsOld(t, vault, p, address, "bad")
		})
	}
}

func TestO6(t *testing.T) {
	t.Parallel()
	vault, address := newVault(t), freePort(t)
	p := start(t, command{
		flags: overlapping(address), env: vault.env(),
		args: program("when=new", "{", "say=pending", "wait", "}", "on=TERM", "{", "exit=4", "}", "notify=READY=1", "env=VALUE", "wait"),
	})
	p.line("env VALUE=1")
	p.rotate(vault, "new")
	p.line("pending")
	p.signal(syscall.SIGTERM)
	expectEnd(t, p, 4)
	if left := p.survivors(); len(left) != 0 {
		t.Errorf("processes %v are left", left)
	}
}

func TestO7(t *testing.T) {
	t.Parallel()
	vault, address := newVault(t), freePort(t)
	p := start(t, command{
		flags: overlapping(address), env: vault.env(),
		args: program("when=v2", "{", "say=pending", "waitfile="+gate(t), "}", "on=TERM", "{", "exit=0", "}",
			"notify=READY=1", "env=VALUE", "wait"),
	})
	p.line("env VALUE=1")
	w, stop, most := p.W(), make(chan struct{}), make(chan int)
	go func() { // the most programs ever seen together
		highest := 0
		for {
			highest = max(highest, len(childrenOf(w)))
			select {
			case <-stop:
				most <- highest
				return
			case <-time.After(time.Millisecond):
			}
		}
	}()
	p.rotate(vault, "v2")
	p.line("pending")
	for _, value := range []string{"v3", "v4"} {
		vault.set(value)
		p.read(vault)
	}
	open(t)
	p.line("env VALUE=v4")
	eventually(t, "only the newest is left", func() bool { return len(childrenOf(p.W())) == 1 })
	close(stop)
	if highest := <-most; highest > 2 {
		t.Errorf("%d programs were alive together", highest)
	}
}

func TestO8(t *testing.T) {
	t.Parallel()
	vault, address := newVault(t), freePort(t)
	p := start(t, command{
		flags: overlapping(address, "--stop-timeout", "500ms"), env: vault.env(),
		args: program("trap=TERM", "http", "notify=READY=1", "env=VALUE", "wait"),
	})
	p.line("env VALUE=1")
	p.rotate(vault, "new")
	eventually(t, "the new one is ready and the old one told to stop", func() bool {
		return p.out.count("env VALUE=new") == 1 && p.out.count("signal TERM") == 1
	})
	eventually(t, "the old program is killed", func() bool { return len(childrenOf(p.W())) == 1 })
	if _, value := asked(t, "tcp", address); value != "new" || p.out.count("signal TERM") != 1 {
		t.Errorf("%q serves, %d got TERM", value, p.out.count("signal TERM"))
	}
}
