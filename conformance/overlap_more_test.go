//go:build linux

package conformance

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// O9: each way to be ready counts when it is true, once, and only from the program itself.
func TestO9(t *testing.T) {
	t.Parallel()
	web := freePort(t)
	for _, c := range []struct {
		name, how string
		script    []string // %s is the gate
	}{
		{"notify early", "notify", []string{"waitfile=%s", "notify=READY=1", "wait"}},
		{"notify twice", "notify", []string{"waitfile=%s", "notify=READY=1", "notify=READY=1", "wait"}},
		{"notify from a stranger", "notify", []string{"stranger=READY=1", "waitfile=%s", "notify=READY=1", "wait"}},
		{"fd", "fd:3", []string{"waitfile=%s", "readyfd=3", "wait"}},
		{"tcp", "tcp:" + web, []string{"waitfile=%s", "http=" + web, "wait"}},
		{"http", "http:http://%w/", []string{"waitfile=%s", "http=%w", "wait"}},
		{"exec", "exec:test -e %s", []string{"wait"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			mine, path, notify := freePort(t), gate(t), newNotifySocket(t)
			fill := strings.NewReplacer("%s", path, "%w", mine, web, mine)
			script := program("say=up")
			for _, word := range c.script {
				script = append(script, fill.Replace(word))
			}
			p := start(t, command{
				flags: []string{"--ready", fill.Replace(c.how)}, args: script, env: []string{"NOTIFY_SOCKET=" + notify.path},
			})
			p.line("up")
			if strings.Contains(c.name, "stranger") {
				p.line("stranger sent")
			}
			time.Sleep(300 * time.Millisecond) // more than one probe
			if notify.count("READY=1") != 0 {
				t.Error("ready before it was")
			}
			open(t)
			notify.expect("READY=1")
			p.signal(syscall.SIGTERM)
			p.wait()
			if n := notify.count("READY=1"); n != 1 {
				t.Errorf("ready %d times", n)
			}
		})
	}
	for _, how := range []string{"notify", "fd:3", "tcp:" + freePort(t), "exec:false"} {
		t.Run("never "+strings.SplitN(how, ":", 2)[0], func(t *testing.T) {
			t.Parallel()
			notify := newNotifySocket(t)
			p := start(t, command{
				flags: []string{"--ready", how, "--ready-timeout", "300ms"}, args: program("wait"),
				env: []string{"NOTIFY_SOCKET=" + notify.path},
			})
			if got := p.wait(); got == (ending{}) || notify.count("READY=1") != 0 {
				t.Errorf("W ended with %v, ready %d times", got, notify.count("READY=1"))
			}
		})
	}
}

func TestO10(t *testing.T) {
	t.Parallel()
	vault, address := newVault(t), freePort(t)
	for name, ready := range map[string][]string{
		"nothing": nil, "http": {"--ready", "http:http://" + address + "/"}, "tcp": {"--ready", "tcp:" + address},
	} {
		t.Run(name, func(t *testing.T) {
			flags := append([]string{"--on-change", "overlap", "--listen", "web=tcp://" + address}, ready...)
			p := start(t, command{flags: rotating(flags...), args: program("say=started"), env: vault.env()})
			if got := p.wait(); got.code != 64 && got.code != 78 || p.out.text() != "" || !strings.Contains(p.err.text(), "overlap") {
				t.Errorf("%v, stdout %q, want a refusal with the reason:\n%s", got, p.out.text(), p.err.text())
			}
		})
	}
}

func TestO11(t *testing.T) {
	t.Parallel()
	vault, address := newVault(t), freePort(t)
	p := start(t, command{
		flags: overlapping(address), env: vault.env(),
		args: server("when=new", "{", "say=pending", "waitfile="+gate(t), "}"),
	})
	p.line("env VALUE=1")
	old := childrenOf(p.W())
	p.rotate(vault, "new")
	p.line("pending")
	if err := syscall.Kill(old[0], syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the old program is gone", func() bool { return len(childrenOf(p.W())) == 1 })
	open(t)
	p.line("env VALUE=new")
	if _, value := asked(t, "tcp", address); value != "new" || !p.running() {
		t.Errorf("%q serves, W runs: %t", value, p.running())
	}
}

func TestO12(t *testing.T) {
	t.Parallel()
	vault, address := newVault(t), freePort(t)
	p := start(t, command{
		flags: overlapping(address, "--soak", "1s"), env: vault.env(),
		args: append(program("when=bad", "{", "notify=READY=1", "say=tried bad", "sleep=200ms", "exit=1", "}"), server()[1:]...),
	})
	p.line("env VALUE=1")
	keepsOld(t, vault, p, address, "bad")
}

func TestO13(t *testing.T) {
	t.Parallel()
	vault, file := newVault(t), filepath.Join(tempDir(t), "lock")
	p := start(t, command{
		flags: rotating(), env: vault.env(),
		args: program("lock="+file, "on=TERM", "{", "sleep=5ms", "exit=0", "}", "env=VALUE", "wait"),
	})
	p.line("env VALUE=1")
	for i := range 50 {
		p.rotate(vault, fmt.Sprint("v", i))
		p.line(fmt.Sprint("env VALUE=v", i))
	}
	if _, err := os.Stat(file + ".overlap"); err == nil {
		t.Error("two programs were alive together")
	}
}

func TestO14(t *testing.T) {
	t.Parallel()
	vault, path := newVault(t), filepath.Join(tempDir(t), "web.sock")
	p := start(t, command{
		flags: rotating("--on-change", "overlap", "--ready", "notify", "--listen", "web=unix://"+path),
		args:  server(), env: vault.env(),
	})
	p.line("env VALUE=1")
	inode := func() uint64 {
		info, err := os.Stat(path)
		if err != nil {
			t.Fatal(err)
		}
		return info.Sys().(*syscall.Stat_t).Ino //nolint:forcetypeassert // Linux
	}
	before := inode()
	for i := range 3 {
		p.rotate(vault, fmt.Sprint("v", i))
		p.line(fmt.Sprint("env VALUE=v", i))
		eventually(t, "the new one serves", func() bool {
			_, value := asked(t, "unix", path)
			return value == fmt.Sprint("v", i)
		})
	}
	if after := inode(); after != before {
		t.Errorf("the socket's inode changed from %d to %d", before, after)
	}
	p.signal(syscall.SIGTERM)
	p.wait()
	if _, err := os.Stat(path); err == nil {
		t.Error("W left its socket behind")
	}
}

func TestO15(t *testing.T) {
	t.Parallel()
	vault, address := newVault(t), freePort(t)
	p := start(t, command{
		flags: overlapping(address, "--stop-timeout", "500ms"), env: vault.env(), // a blocked accept cannot be ended
		args: server("when=block", "{", "blocking=3", "say=blocked", "}"),
	})
	p.line("env VALUE=1")
	p.rotate(vault, "block")
	p.line("blocked")
	p.line("env VALUE=block")
	if _, value := asked(t, "tcp", address); value == "" {
		t.Error("nobody serves")
	}
	p.rotate(vault, "after")
	p.line("env VALUE=after")
	eventually(t, "the one after serves", func() bool {
		_, value := asked(t, "tcp", address)
		return value == "after"
	})
	p.signal(syscall.SIGUSR1) // W is not stuck in its listener
}

func TestO16(t *testing.T) {
	t.Parallel()
	dir := tempDir(t)
	text := filepath.Join(dir, "text")
	write(t, text, "hello\n", 0o644)
	for path, code := range map[string]int{"/nonexistent/program": 127, text: 126, "/etc": 126} {
		p := expectCode(t, command{flags: []string{"--listen", "web=tcp://" + freePort(t), "--log-level", "warn"}, args: []string{path}}, code)
		expectOneLine(t, p, path)
	}
	vault, address, copied := newVault(t), freePort(t), filepath.Join(dir, "program")
	binary, err := os.ReadFile(fixture)
	if err != nil {
		t.Fatal(err)
	}
	write(t, copied, string(binary), 0o755)
	p := start(t, command{flags: overlapping(address), env: vault.env(), args: append([]string{copied}, server()[1:]...)})
	p.line("env VALUE=1")
	old, _ := asked(t, "tcp", address)
	if err := os.Chmod(copied, 0o644); err != nil { //nolint:gosec // no longer a program
		t.Fatal(err)
	}
	p.rotate(vault, "new")
	eventually(t, "the failure is reported", func() bool { return strings.Contains(p.err.text(), "permission denied") })
	if pid, value := asked(t, "tcp", address); pid != old || value != "1" {
		t.Errorf("%d with %q serves, want the old %d", pid, value, old)
	}
}

func TestO17(t *testing.T) {
	t.Parallel()
	vault, address := newVault(t), freePort(t)
	p := start(t, command{
		flags: overlapping(address), env: vault.env(),
		args: program("on=USR1", "{", "env=VALUE", "}", "on=TERM", "{", "waitfile="+gate(t), "exit=0", "}",
			"saypid=pid", "notify=READY=1", "wait"),
	})
	first := p.line("pid ")
	p.rotate(vault, "new")
	second := p.line("pid ")
	for pid, value := range map[string]string{first: "1", second: "new"} {
		var number int
		_, _ = fmt.Sscan(pid, &number)
		if err := syscall.Kill(number, syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
		p.line("env VALUE=" + value)
	}
	open(t)
}
