//go:build integration && linux

package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// killedAtAnyMoment: whatever envexec was doing, nothing of its program survives it.
func killedAtAnyMoment(t *testing.T, w *wine) {
	const times, mark = 40, "ENVEXEC_MOMENT=1"
	w.visits = make(chan *visit, 3*times)
	w.listen()
	start := func() func() {
		cmd, _ := w.begin([]string{mark}, "envexec.exe", "--", `.\app.exe`, w.address, "tree")
		return func() { _, _ = cmd.Process.Kill(), cmd.Wait() }
	}
	began := time.Now()
	kill := start()
	all := []*visit{w.visited(), w.visited()}
	whole := time.Since(began)
	kill()

	var running sync.WaitGroup
	two := make(chan struct{}, 2)
	for i := range times {
		two <- struct{}{}
		running.Go(func() {
			kill := start()
			time.Sleep(whole * time.Duration(i) / (times / 2)) // moments all over a start and after it
			kill()
			<-two
		})
	}
	running.Wait()
	eventually(t, func() string {
		for _, p := range w.processes(mark) {
			if maps, err := os.ReadFile(filepath.Join(p, "maps")); err == nil && bytes.Contains(maps, []byte("app.exe")) {
				return p + " lives on"
			}
		}
		return ""
	})
	for len(w.visits) > 0 {
		all = append(all, <-w.visits)
	}
	t.Logf("a start takes %v; of %d programs and their children %d had begun", whole, 2*(times+1), len(all))
	for _, v := range all {
		v.ends(t)
	}
}

// ctrlC is typed on a terminal, as a user does.
func ctrlC(t *testing.T, w *wine) {
	run := func(args ...string) (v *visit, press, kill func(), end func() int) {
		master, slave := terminal(t)
		cmd := w.command(t.Context(), w.binary, append(args, `.\app.exe`, w.address)...)
		cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
		cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		_ = slave.Close()
		said := shown(master)
		press = func() { _, _ = master.WriteString("\x03") }
		kill = func() { _ = cmd.Process.Kill() }
		return w.visited(), press, kill, func() int {
			_ = cmd.Wait()
			<-said
			return cmd.ProcessState.ExitCode()
		}
	}
	// Alone on a console the program sees it.
	v, press, kill, end := run()
	press()
	if got := <-v.lines; got != "interrupt" {
		t.Errorf("it says %q", got)
	}
	kill()
	end()
	// Beside envexec it does not: envexec asks it to stop, once, with Ctrl-Break. Wine
	// cannot pass that on, so it is ended.
	v, press, kill, end = run("envexec.exe", "--log-file", "ctrlc.log", "--log-level", "debug", "--")
	t.Cleanup(kill)
	w.must(0, "ready", "envexec.exe", "status")
	press()
	v.ends(t)
	if status := end(); status != 137 || len(v.lines) != 0 {
		t.Errorf("envexec ended with %d, the program saw Ctrl-C %d times", status, len(v.lines))
	}
	log, err := os.ReadFile(filepath.Join(w.dir, "ctrlc.log"))
	if n := strings.Count(string(log), "asked to stop"); err != nil || n != 1 {
		t.Errorf("asked to stop %d times: %v\n%s", n, err, log)
	}
}

// ends waits until the process is gone.
func (v *visit) ends(t *testing.T) {
	t.Helper()
	eventually(t, func() string {
		select {
		case <-v.gone:
			return ""
		default:
		}
		// Wine 8 keeps a connection open whose process was ended in the moment it was made.
		if v.held() {
			return fmt.Sprintf("process %d %q lives on", v.PID, v.Args)
		}
		return ""
	})
}

// held: a process, other than the server that all of Wine shares, has the program's
// end of the connection.
func (v *visit) held() bool {
	inode := socketAt(v.conn.RemoteAddr().(*net.TCPAddr).Port)
	if inode == "" {
		return false
	}
	open, _ := filepath.Glob("/proc/[0-9]*/fd/*")
	for _, fd := range open {
		if to, err := os.Readlink(fd); err != nil || to != "socket:["+inode+"]" {
			continue
		}
		name, err := os.ReadFile(filepath.Join(filepath.Dir(filepath.Dir(fd)), "comm"))
		if err == nil && !bytes.HasPrefix(name, []byte("wineserver")) {
			return true
		}
	}
	return false
}

// socketAt is the inode of the connection from a local port: proc_net(5).
func socketAt(port int) string {
	table, _ := os.ReadFile("/proc/net/tcp")
	for line := range strings.Lines(string(table)) {
		f := strings.Fields(line)
		if len(f) > 9 && strings.HasSuffix(f[1], fmt.Sprintf(":%04X", port)) {
			return f[9]
		}
	}
	return ""
}

// processes lists the directories in /proc of this Windows's processes that have variable.
func (w *wine) processes(variable string) (list []string) {
	all, _ := filepath.Glob("/proc/[0-9]*")
	for _, p := range all {
		env, err := os.ReadFile(filepath.Join(p, "environ"))
		env = append([]byte{0}, env...)
		if err == nil && bytes.Contains(env, []byte("\x00"+variable+"\x00")) && bytes.Contains(env, []byte("\x00"+w.prefix()+"\x00")) {
			list = append(list, p)
		}
	}
	return list
}

// end ends this Windows. Its server knows nothing of processes whose parent was killed
// while it made them: they wait for an answer that never comes, before they have loaded
// any program (Wine 8: such a process holds both ends of the pipe it reads).
func (w *wine) end() {
	_ = w.command(context.Background(), w.server, "-k").Run()
	for _, p := range w.processes(w.prefix()) {
		if pid, err := strconv.Atoi(filepath.Base(p)); err == nil {
			_ = syscall.Kill(pid, syscall.SIGKILL)
		}
	}
}

// eventually waits until wrong has nothing to say.
func eventually(t *testing.T, wrong func() string) {
	t.Helper()
	for limit := time.Now().Add(2 * time.Minute); ; time.Sleep(20 * time.Millisecond) {
		text := wrong()
		if text == "" {
			return
		}
		if time.Now().After(limit) {
			t.Fatal(text)
		}
	}
}
