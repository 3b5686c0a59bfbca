//go:build linux && integration

package conformance

import (
	"bufio"
	"strings"
	"testing"
	"time"
)

// TestQuota: a listener with a sidecar's share of a processor works on one, or on as
// many as GOMAXPROCS says.
func TestQuota(t *testing.T) {
	t.Parallel()
	inPlaces(t, "docker", func(t *testing.T, _ place) { quotas(t) })
}

func quotas(t *testing.T) {
	for _, c := range []struct {
		name, cpus string
		env        []string
		want       string
	}{
		{"quota-quarter", "0.25", nil, "GOMAXPROCS=1: "},
		{"quota-more-than-one", "1.25", nil, "GOMAXPROCS=2: "},
		{"quota-told", "0.25", []string{"GOMAXPROCS=2"}, `GOMAXPROCS=\"2\"`},
	} {
		t.Run(c.name, func(t *testing.T) {
			args := append(runArgs(c.name, c.env, "--network", "none", "--cpus", c.cpus), binary, "proxy", "--listen-vault", "127.0.0.1:8100", "--log-level", "debug")
			cmd := client(args...)
			t.Cleanup(func() { _ = client("rm", "--force", c.name).Run(); _ = cmd.Wait() })
			log, err := cmd.StderrPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			late := time.AfterFunc(patience, func() { _ = client("rm", "--force", c.name).Run() })
			defer late.Stop()
			for lines := bufio.NewScanner(log); lines.Scan(); {
				if line := lines.Text(); strings.Contains(line, "msg=processors ") {
					if !strings.Contains(line, c.want) {
						t.Errorf("got %s, want %s", line, c.want)
					}
					return
				}
			}
			t.Error("the processors are not told")
		})
	}
}
