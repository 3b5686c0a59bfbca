package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/envexec/envexec/internal/vaulttest"
)

// answer is what the web program says of itself.
type answer struct {
	Pid         int
	Password    string
	OTP         string
	Credentials []string
}

// wrapper is a running bin/envexec with the web program in it.
type wrapper struct {
	cmd    *exec.Cmd
	url    string
	done   chan struct{}
	output sync.WaitGroup
}

// run starts bin/envexec with the configuration and shows what it and the
// program print.
func run(t vaulttest.T, config string) *wrapper {
	listen := freeAddress(t)
	w := &wrapper{url: "http://" + listen, done: make(chan struct{})}
	w.cmd = exec.Command(inRepository(t, filepath.Join("bin", "envexec")), "-config="+config, "--min-uptime="+minUptime.String())
	w.cmd.Env = append(os.Environ(), "LISTEN="+listen)
	fmt.Printf("\n    $ bin/envexec -config=demo.hcl --min-uptime=%s\n", minUptime)
	stdout, err := w.cmd.StdoutPipe()
	if err != nil {
		t.Fatalf("run envexec: %v", err)
	}
	stderr, err := w.cmd.StderrPipe()
	if err != nil {
		t.Fatalf("run envexec: %v", err)
	}
	if err := w.cmd.Start(); err != nil {
		t.Fatalf("run envexec: %v", err)
	}
	w.output.Go(func() { show("program", stdout) })
	w.output.Go(func() { show("envexec", stderr) })
	go func() {
		defer close(w.done)
		w.output.Wait()
		_ = w.cmd.Wait() // the status is read from ProcessState
	}()
	t.Cleanup(func() {
		select {
		case <-w.done:
		default:
			_ = w.cmd.Process.Kill()
			<-w.done
		}
	})
	return w
}

func show(who string, from io.Reader) {
	for lines := bufio.NewScanner(from); lines.Scan(); {
		fmt.Printf("      %s | %s\n", who, lines.Text())
	}
}

func freeAddress(t vaulttest.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("find a free port: %v", err)
	}
	defer l.Close()
	return l.Addr().String()
}

// await asks the program until it answers with what is wanted.
func (w *wrapper) await(t vaulttest.T, what string, wanted func(answer) bool) answer {
	for end := time.Now().Add(limit); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		select {
		case <-w.done:
			t.Fatalf("envexec ended before the program did %s: %s", what, w.cmd.ProcessState)
		default:
		}
		if a, err := w.ask(); err == nil && wanted(a) {
			return a
		}
	}
	t.Fatalf("the program did not %s within %s", what, limit)
	return answer{}
}

func (w *wrapper) ask() (answer, error) {
	client := http.Client{Timeout: time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Get(w.url + "/")
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	var a answer
	return a, json.NewDecoder(response.Body).Decode(&a)
}

// quit asks the program, not envexec, to end; it may end before it answers.
func (w *wrapper) quit() {
	client := http.Client{Timeout: 5 * time.Second}
	if response, err := client.Get(w.url + "/quit"); err == nil {
		response.Body.Close()
	}
}

// wait returns envexec's status.
func (w *wrapper) wait(t vaulttest.T) int {
	select {
	case <-w.done:
	case <-time.After(limit):
		t.Fatalf("envexec did not end within %s", limit)
	}
	return w.cmd.ProcessState.ExitCode()
}

// build compiles one of this repository's programs.
func build(t vaulttest.T, dir, pkg, name string) string {
	out := filepath.Join(dir, name)
	cmd := exec.Command("go", "build", "-buildvcs=false", "-o", out, pkg)
	cmd.Dir = inRepository(t, ".")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build %s: %v\n%s", pkg, err, text)
	}
	return out
}

func inRepository(t vaulttest.T, path string) string {
	root, err := vaulttest.Root()
	if err != nil {
		t.Fatalf("%v", err)
	}
	return filepath.Join(root, path)
}

// awaitWrite writes the first version: a version 2 mount needs a moment after its making.
func awaitWrite(t vaulttest.T, v *vaulttest.Server, path, password string) {
	client := v.Client(t)
	mount, rest, _ := strings.Cut(path, "/")
	err := errors.New("not tried")
	for end := time.Now().Add(limit); err != nil && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		_, err = client.Logical().Write(mount+"/data/"+rest, map[string]any{"data": map[string]any{"password": password}})
	}
	if err != nil {
		t.Fatalf("write %s: %v", path, err)
	}
}

func version(t vaulttest.T, v *vaulttest.Server) string {
	health, err := v.Client(t).Sys().Health()
	if err != nil {
		t.Fatalf("ask Vault's health: %v", err)
	}
	return health.Version
}

// The narration.

func title(text string) { fmt.Printf("\n%s\n", text) }

func say(format string, args ...any) { fmt.Printf("    "+format+"\n", args...) }

// check prints what holds, or ends the demo.
func check(t vaulttest.T, holds bool, format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	if !holds {
		t.Fatalf("this does not hold: %s", text)
	}
	fmt.Printf("    ok: %s\n", text)
}

func since(t time.Time) time.Duration { return time.Since(t).Round(time.Millisecond) }
