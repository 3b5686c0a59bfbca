package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/envexec/envexec/internal/vaulttest"
)

// On a terminal init asks: for the paths, for the file, and before it overwrites one.
func TestInitAsks(t *testing.T) {
	v := vaulttest.Start(t)
	v.PutKV2(t, "secret/app", map[string]any{"key": "s3cret"})
	dir := t.TempDir()
	for _, run := range []struct{ answers, want string }{
		{"secret/app\n\n", "APP_KEY"},
		{"secret/nothing\n\n\n", "APP_KEY"}, // not overwritten: the answer to that question is no
	} {
		master, slave := terminal(t)
		cmd := exec.CommandContext(t.Context(), "envexec", "init")
		cmd.Dir, cmd.Stdin, cmd.Stdout, cmd.Stderr = dir, slave, slave, slave
		cmd.Env = []string{"VAULT_ADDR=" + v.Addr, "VAULT_TOKEN=" + v.RootToken, "GORACE=atexit_sleep_ms=0"}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := master.WriteString(run.answers); err != nil {
			t.Fatal(err)
		}
		said := shown(master)
		err := cmd.Wait()
		_ = slave.Close()
		text := <-said
		if !strings.Contains(text, "Which secrets?") || !strings.Contains(text, "Write to which file? [envexec.hcl]") {
			t.Errorf("it did not ask:\n%s", text)
		}
		if overwrite := strings.Contains(text, "envexec.hcl exists. Overwrite it?"); overwrite != (err != nil) {
			t.Errorf("%v\n%s", err, text)
		}
		file, _ := os.ReadFile(filepath.Join(dir, "envexec.hcl"))
		if !strings.Contains(string(file), run.want) || strings.Contains(string(file), "s3cret") {
			t.Errorf("%s\n%s", file, text)
		}
	}
}

// terminal opens a pseudo-terminal (pty(7)).
func terminal(t *testing.T) (master, slave *os.File) {
	t.Helper()
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err = os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = master.Close() })
	return master, slave
}

// shown yields all that is written to a terminal once its last user has closed it.
func shown(master *os.File) <-chan string {
	said := make(chan string)
	go func() {
		buf, all := make([]byte, 4096), ""
		for {
			n, err := master.Read(buf)
			if all += string(buf[:n]); err != nil {
				said <- all
				return
			}
		}
	}()
	return said
}
