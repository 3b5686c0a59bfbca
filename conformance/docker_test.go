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
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func init() {
	places["docker"] = docker{"docker", []string{"--network", "none"}}
	places["docker-net"] = docker{"docker-net", []string{"--network", "host"}} // Vault and the clients are the host's
	places["docker-init"] = docker{"docker-init", []string{"--network", "none", "--init"}}
}

// docker makes W process 1 of a container FROM scratch: only the two static binaries, an ordinary user and a read-only
// root.
type docker struct {
	called string
	words  []string // for docker run
}

func (d docker) name() string   { return d.called }
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
		detach(data)
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

// detach unmounts what lies below dir, the newest first: dockerd leaves the namespaces of its networks mounted.
func detach(dir string) {
	table, _ := os.ReadFile("/proc/self/mountinfo")
	var points []string
	for line := range strings.Lines(string(table)) {
		if fields := strings.Fields(line); len(fields) > 4 && strings.HasPrefix(fields[4], dir+"/") {
			points = append(points, fields[4])
		}
	}
	for _, point := range slices.Backward(points) {
		_ = unix.Unmount(point, unix.MNT_DETACH)
	}
}

// importImage makes the images; the binaries lie where the tests' command lines name them. One asks W for its health.
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
	health := fmt.Sprintf(`HEALTHCHECK --interval=1s --timeout=60s --retries=1 CMD [%q, "status"]`, binary)
	for _, words := range [][]string{{"-", "conformance"}, {"--change", health, "-", "conformance-health"}} {
		load := client(append([]string{"import"}, words...)...)
		load.Stdin = bytes.NewReader(image.Bytes())
		if out, err := load.CombinedOutput(); err != nil {
			return fmt.Errorf("docker import: %w: %s", err, out)
		}
	}
	if err := os.MkdirAll(gates(), 0o777); err != nil {
		return err
	}
	return os.Chmod(gates(), 0o777) //nolint:gosec // the containers' user opens gates
}

// runArgs are the words of "docker run" up to the image's command.
func runArgs(name string, env []string, more ...string) []string {
	args := append([]string{
		"run", "--rm", "--name", name, "--user", "12345:12345", "--read-only",
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

func (d docker) command(t testing.TB, argv, env []string) *exec.Cmd {
	name := containerName(env)
	t.Cleanup(func() { _ = client("rm", "--force", name).Run() })
	cmd := client(append(runArgs(name, env, d.words...), argv...)...)
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
func (d docker) interactive(t testing.TB, words ...string) []string {
	t.Helper()
	serial.Lock()
	serial.n++
	name := fmt.Sprintf("case-tty-%d-%d", os.Getpid(), serial.n)
	serial.Unlock()
	t.Cleanup(func() { _ = client("rm", "--force", name).Run() })
	return append(client(runArgs(name, nil, append(d.words, "-it")...)...).Args, envexec.argv(nil, program(words...))...)
}

// TestDockerStop: docker stop ends in the program's own time with its code, docker kill reaches the program.
func TestDockerStop(t *testing.T) {
	t.Parallel()
	inPlaces(t, "docker", func(t *testing.T, at place) {
		p := start(t, command{
			place: at, args: program("on=TERM", "{", "say=term", "exit=5", "}", "trap=USR1,37", "say=ready", "wait"),
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
	})
}

// TestDockerHealth: HEALTHCHECK CMD ["envexec", "status"] follows the program's readiness; no shell is in the image.
func TestDockerHealth(t *testing.T) {
	t.Parallel()
	inPlaces(t, "docker", func(t *testing.T, at place) {
		run := runArgs("case-health", nil, "--network", "none")
		run[len(run)-1] = "conformance-health"
		t.Cleanup(func() { _ = client("rm", "--force", "case-health").Run() })
		start(t, command{under: none, args: append(client(run...).Args,
			envexec.argv([]string{"--ready", "notify"}, program("waitfile="+gate(t), "notify=READY=1", "wait"))...)})
		health := func(want string) {
			t.Helper()
			eventually(t, "docker says "+want, func() bool {
				out, err := client("inspect", "--format", "{{.State.Health.Status}}", "case-health").Output()
				return err == nil && strings.TrimSpace(string(out)) == want
			})
		}
		health("unhealthy")
		open(t)
		health("healthy")
	})
}
