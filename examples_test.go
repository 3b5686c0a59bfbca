//go:build integration

package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"
)

// TestIntegrationExamples runs contrib/examples as their comments say, with real
// servers, under load: no request may fail while they are replaced.
func TestIntegrationExamples(t *testing.T) {
	runScripts(t, "examples", map[string]func(*testscript.TestScript, bool, []string){
		"example":     cmdExample,
		"free-port":   cmdFreePort,
		"replace":     cmdReplace,
		"certificate": cmdCertificate,
		"presents":    cmdPresents,
		"crowd":       cmdCrowd,
		"rotate":      cmdRotate,
	})
}

// cmdExample puts an example into the working directory: its files, or what Go makes of them.
//
//	example NAME
func cmdExample(ts *testscript.TestScript, _ bool, args []string) {
	dir := filepath.Join("contrib", "examples", args[0])
	if _, err := os.Stat(filepath.Join(dir, "main.go")); err == nil {
		out, err := exec.Command("go", "build", "-o", ts.MkAbs(args[0]), "./"+dir).CombinedOutput()
		if err != nil {
			ts.Fatalf("build %s: %v\n%s", dir, err, out)
		}
		return
	}
	ts.Check(os.CopyFS(ts.MkAbs("."), os.DirFS(dir)))
}

// cmdFreePort sets a variable to a port nobody listens on.
//
//	free-port VAR
func cmdFreePort(ts *testscript.TestScript, _ bool, args []string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	defer l.Close()
	ts.Setenv(args[0], strconv.Itoa(l.Addr().(*net.TCPAddr).Port))
}

// cmdReplace replaces text in a file.
//
//	replace FILE OLD NEW
func cmdReplace(ts *testscript.TestScript, _ bool, args []string) {
	text := ts.ReadFile(args[0])
	if !strings.Contains(text, args[1]) {
		ts.Fatalf("%s has no %q", args[0], args[1])
	}
	write(ts, args[0], strings.ReplaceAll(text, args[1], args[2]))
}

// cmdCertificate writes a self-signed certificate and its key.
//
//	certificate CERT KEY
func cmdCertificate(ts *testscript.TestScript, _ bool, args []string) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	ts.Check(err)
	template := &x509.Certificate{SerialNumber: big.NewInt(time.Now().UnixNano()), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	ts.Check(err)
	der, err := x509.MarshalPKCS8PrivateKey(key)
	ts.Check(err)
	write(ts, args[0], string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})))
	write(ts, args[1], string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
}

// cmdPresents waits until a TLS server shows the certificate in FILE.
//
//	presents ADDRESS FILE
func cmdPresents(ts *testscript.TestScript, _ bool, args []string) {
	want, _ := pem.Decode([]byte(ts.ReadFile(args[1])))
	var last error
	for end := time.Now().Add(patience); time.Now().Before(end); <-time.After(20 * time.Millisecond) {
		conn, err := tls.Dial("tcp", args[0], &tls.Config{InsecureSkipVerify: true}) //nolint:gosec // the test's own certificate
		if last = err; err != nil {
			continue
		}
		got := conn.ConnectionState().PeerCertificates[0].Raw
		_ = conn.Close()
		if bytes.Equal(got, want.Bytes) {
			return
		}
	}
	ts.Fatalf("%s never showed the certificate in %s; last error: %v", args[0], args[1], last)
}

// crowd asks without keep-alive and counts what fails.
type crowd struct {
	ok, failed atomic.Int64
	first      atomic.Value // what failed first
	stop       context.CancelFunc
	group      sync.WaitGroup
}

// crowds are the running ones, by the script's directory.
var crowds sync.Map

// cmdCrowd starts clients once the server answers; at their end none may have failed.
//
//	crowd N URL
//	crowd end
func cmdCrowd(ts *testscript.TestScript, _ bool, args []string) {
	if args[0] == "end" {
		running, _ := crowds.LoadAndDelete(ts.MkAbs("."))
		c := running.(*crowd)
		c.end()
		ts.Logf("%d requests answered, %d failed", c.ok.Load(), c.failed.Load())
		if c.failed.Load() > 0 || c.ok.Load() < 100 {
			ts.Fatalf("%d requests answered, %d failed, the first: %v", c.ok.Load(), c.failed.Load(), c.first.Load())
		}
		return
	}
	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // the test's own certificate
	}}
	for end := time.Now().Add(patience); ask(client, args[1]) != nil; <-time.After(20 * time.Millisecond) {
		if time.Now().After(end) {
			ts.Fatalf("%s does not answer", args[1])
		}
	}
	ctx, stop := context.WithCancel(context.Background())
	c := &crowd{stop: stop}
	ts.Defer(c.end)
	number, err := strconv.Atoi(args[0])
	ts.Check(err)
	for range number {
		c.group.Go(func() {
			for ctx.Err() == nil {
				if err := ask(client, args[1]); err != nil {
					c.first.CompareAndSwap(nil, err)
					c.failed.Add(1)
				} else {
					c.ok.Add(1)
				}
			}
		})
	}
	crowds.Store(ts.MkAbs("."), c)
}

func (c *crowd) end() { c.stop(); c.group.Wait() }

func ask(client *http.Client, url string) error {
	answer, err := client.Get(url)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if _, err = io.Copy(io.Discard, answer.Body); err == nil && answer.StatusCode != http.StatusOK {
		return fmt.Errorf("the answer is %s", answer.Status)
	}
	return err
}

// cmdRotate changes a secret N times, %d being the number of the time, and waits
// each time until envexec, the background command started last, has said in LOG
// that it is in use.
//
//	rotate N LOG PATH k=v…
func cmdRotate(ts *testscript.TestScript, _ bool, args []string) {
	times, err := strconv.Atoi(args[0])
	ts.Check(err)
	v := ts.Value(vaultKey{}).(*scriptVault)
	for i := 1; i <= times; i++ {
		before := strings.Count(ts.ReadFile(args[1]), inUse)
		pairs := pairs(ts, args[3:])
		for k, value := range pairs {
			if value == "%d" {
				pairs[k] = strconv.Itoa(i)
			}
		}
		v.put(scriptT{ts}, args[2], pairs)
		cmdSend(ts, false, []string{"PWR"})
		for end := time.Now().Add(patience); strings.Count(ts.ReadFile(args[1]), inUse) == before; <-time.After(5 * time.Millisecond) {
			if time.Now().After(end) {
				ts.Fatalf("rotation %d did not happen:\n%s", i, ts.ReadFile(args[1]))
			}
		}
	}
}

const inUse = "secrets changed and are in use"
