// Command proxy measures the caching listener against `vault proxy` and against a
// bare net/http handler that returns the same bytes, with wrk. Everything runs in
// processes of its own on this machine, one after the other.
//
// Both read the same configuration file, but for the port.
//
//	make bench-proxy
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"time"
)

func main() {
	log.SetFlags(0)
	envexec := flag.String("envexec", "bin/envexec", "the envexec binary")
	out := flag.String("out", "", "write the table there; empty = standard output")
	vault := flag.String("vault", "vault", "the Vault binary")
	duration := flag.Duration("duration", 3*time.Second, "of each measurement")
	rounds := flag.Int("rounds", 3, "measurements of each figure; the median counts")
	leases := flag.Int("leases", 10000, "cached leases for the memory figure")
	only := flag.String("only", "", "pass: measure the pass-through alone")
	role := flag.String("role", "", "internal: what a child process serves")
	address := flag.String("address", "", "internal")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	var err error
	switch *role {
	case "bare":
		err = serveBare(ctx, *address)
	default:
		err = measure(options{*vault, *envexec, *out, *duration, *rounds, *leases, *only})
	}
	if err != nil {
		log.Fatal(err)
	}
}

// serveBare returns the bytes on standard input to every request.
func serveBare(ctx context.Context, address string) error {
	body, err := io.ReadAll(os.Stdin)
	if err != nil {
		return err
	}
	s := &http.Server{Addr: address, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body)
	})}
	go func() { <-ctx.Done(); _ = s.Close() }()
	return s.ListenAndServe()
}

// child is a process that serves on loopback.
type child struct {
	url string
	cmd *exec.Cmd
}

// run starts a process and waits until it accepts connections. Its log goes to a file, as it
// does where it is used.
func run(port int, stdin io.Reader, logs string, name string, args ...string) (*child, error) {
	c := &child{url: fmt.Sprintf("http://127.0.0.1:%d", port), cmd: exec.Command(name, args...)}
	log, err := os.Create(filepath.Join(logs, fmt.Sprintf("%d.log", port)))
	if err != nil {
		return nil, err
	}
	defer log.Close()
	c.cmd.Stdin, c.cmd.Stdout, c.cmd.Stderr = stdin, log, log
	if err := c.cmd.Start(); err != nil {
		return nil, err
	}
	for range 6000 {
		if conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", port)); err == nil {
			_ = conn.Close()
			return c, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.stop()
	return nil, fmt.Errorf("%s does not listen", filepath.Base(name))
}

func (c *child) stop() {
	_ = c.cmd.Process.Signal(os.Interrupt)
	done := time.AfterFunc(5*time.Second, func() { _ = c.cmd.Process.Kill() })
	_ = c.cmd.Wait()
	done.Stop()
}

func freePort() int {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	defer l.Close()
	return l.Addr().(*net.TCPAddr).Port
}
