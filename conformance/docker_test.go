//go:build linux && integration

package conformance

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func init() { places["docker"] = docker{} }

// docker makes W process 1 of a container FROM scratch: only the two static binaries, an ordinary user, a read-only
// root and no network.
type docker struct{}

func (docker) name() string     { return "docker" }
func (docker) available() error { return dockerProblem() }

func socketPath() string { return filepath.Join(scratch, "docker.sock") }

// gates is the one directory that containers share with the tests.
func gates() string { return filepath.Join(scratch, "gates") }

func client(args ...string) *exec.Cmd {
	return exec.Command("/usr/bin/docker", append([]string{"-H", "unix://" + socketPath()}, args...)...) //nolint:gosec // tests
}

// dockerProblem starts a daemon of the suite's own at the first call.
var dockerProblem = sync.OnceValue(func() error {
	if os.Getuid() != 0 {
		return errors.New("needs root")
	}
	data := filepath.Join(scratch, "docker")
	daemon := exec.Command("/usr/sbin/dockerd", //nolint:gosec // fixed words
		"--data-root", filepath.Join(data, "data"), "--exec-root", filepath.Join(data, "exec"),
		"--pidfile", filepath.Join(data, "pid"), "--host", "unix://"+socketPath(),
		"--iptables=false", "--ip6tables=false", "--bridge=none", "--storage-driver=vfs")
	if err := os.MkdirAll(data, 0o711); err != nil { //nolint:gosec // containers pass through
		return err
	}
	log, err := os.Create(filepath.Join(data, "log"))
	if err != nil {
		return err
	}
	daemon.Stdout, daemon.Stderr = log, log
	if err := daemon.Start(); err != nil {
		return err
	}
	shutdowns = append(shutdowns, func() {
		_ = daemon.Process.Signal(syscall.SIGTERM)
		_ = daemon.Wait()
		_ = log.Close()
	})
	for end := time.Now().Add(patience); ; time.Sleep(50 * time.Millisecond) {
		out, err := client("version").CombinedOutput()
		if err == nil {
			break
		}
		if time.Now().After(end) {
			return fmt.Errorf("dockerd: %w: %s", err, out)
		}
	}
	return importImage()
})

// importImage makes the image; the binaries lie where the tests' command lines name them.
func importImage() error {
	var image bytes.Buffer
	archive := tar.NewWriter(&image)
	var dir string
	for part := range strings.SplitSeq(strings.Trim(scratch, "/"), "/") { // others may pass through
		dir += part + "/"
		if err := archive.WriteHeader(&tar.Header{Typeflag: tar.TypeDir, Name: dir, Mode: 0o755}); err != nil {
			return err
		}
	}
	for _, path := range []string{binary, fixture} {
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		header := &tar.Header{Name: strings.TrimPrefix(path, "/"), Mode: 0o755, Size: int64(len(text))}
		if err := archive.WriteHeader(header); err != nil {
			return err
		}
		if _, err := archive.Write(text); err != nil {
			return err
		}
	}
	if err := archive.Close(); err != nil {
		return err
	}
	load := client("import", "-", "conformance")
	load.Stdin = &image
	if out, err := load.CombinedOutput(); err != nil {
		return fmt.Errorf("docker import: %w: %s", err, out)
	}
	if err := os.MkdirAll(gates(), 0o777); err != nil {
		return err
	}
	return os.Chmod(gates(), 0o777) //nolint:gosec // the containers' user opens gates
}

// runArgs are the words of "docker run" up to the image's command.
func runArgs(name string, env []string, more ...string) []string {
	args := append([]string{
		"run", "--rm", "--name", name, "--network", "none", "--user", "12345:12345", "--read-only",
		"--volume", gates() + ":" + gates(),
	}, more...)
	for _, entry := range env {
		args = append(args, "--env", entry)
	}
	return append(args, "conformance")
}

func containerName(env []string) string {
	for _, entry := range env {
		if id, ok := strings.CutPrefix(entry, "CONFORMANCE_RUN="); ok {
			return "case-" + id
		}
	}
	return "case"
}

func (docker) command(t testing.TB, argv, env []string) *exec.Cmd {
	name := containerName(env)
	t.Cleanup(func() { _ = client("rm", "--force", name).Run() })
	cmd := client(append(runArgs(name, env), argv...)...)
	cmd.Env = env // the mark by which the run is found
	return cmd
}

func (docker) wrapper(p *process) (pid int) {
	p.t.Helper()
	name := containerName(p.cmd.Env)
	eventually(p.t, "the container runs", func() bool {
		out, err := client("inspect", "--format", "{{.State.Pid}}", name).Output()
		pid, _ = strconv.Atoi(strings.TrimSpace(string(out)))
		return err == nil && pid > 0
	})
	return pid
}

// interactive is a "docker run -it" of W with a script for the fixture.
func (docker) interactive(t testing.TB, words ...string) []string {
	t.Helper()
	serial.Lock()
	serial.n++
	name := fmt.Sprintf("case-tty-%d-%d", os.Getpid(), serial.n)
	serial.Unlock()
	t.Cleanup(func() { _ = client("rm", "--force", name).Run() })
	return append(client(runArgs(name, nil, "-it")...).Args, envexec.argv(nil, program(words...))...)
}

// TestDockerStop is point 9 of the promise: docker stop ends in the program's own time with its code, docker kill
// reaches the program.
func TestDockerStop(t *testing.T) {
	t.Parallel()
	require(t, "docker", docker{}.available())
	p := start(t, command{
		place: docker{}, args: program("on=TERM", "{", "say=term", "exit=5", "}", "trap=USR1,37", "say=ready", "wait"),
	})
	p.line("ready")
	name := containerName(p.cmd.Env)
	for sent, seen := range map[string]string{"USR1": "USR1", "37": "37"} {
		if out, err := client("kill", "--signal", sent, name).CombinedOutput(); err != nil {
			t.Fatalf("docker kill: %v: %s", err, out)
		}
		p.line("signal " + seen)
	}
	if out, err := client("stop", "--time", "600", name).CombinedOutput(); err != nil {
		t.Fatalf("docker stop: %v: %s", err, out)
	}
	expectEnd(t, p, 5)
}
