package lease

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/internal/vaulttest"
)

// TestLeaderKilledUnderLoad: three nodes, a standby asked, the leader killed while
// secrets are read. Values only ever move forward, every one arrives in the end, and
// nobody takes the election for an invalid token or a missing secret.
func TestLeaderKilledUnderLoad(t *testing.T) {
	c := vaulttest.StartCluster(t)
	leader := c.Leader(t)
	var asked *vaulttest.Server
	for _, n := range c.Nodes {
		if n != leader {
			asked = n
		}
	}
	const secrets = 20
	path := func(i int) string { return fmt.Sprintf("secret/data/s%d", i) }
	put := func(generation int) {
		now := c.Leader(t)
		for i := range secrets {
			// A fresh leader may still be setting itself up.
			var err error
			for end := time.Now().Add(time.Minute); time.Now().Before(end); <-time.After(50 * time.Millisecond) {
				if _, err = now.Client(t).Logical().Write(path(i), map[string]any{"data": map[string]any{"n": generation}}); err == nil {
					break
				}
				now = c.Leader(t)
			}
			if err != nil {
				t.Fatal(err)
			}
		}
	}
	put(1)
	r := onVaultAt(t, Config{
		StaticInterval: 50 * time.Millisecond, MinInterval: 20 * time.Millisecond, MinBackoff: 20 * time.Millisecond, MaxBackoff: 500 * time.Millisecond,
		RequestTimeout: 5 * time.Second,
	}, leader.Client(t), asked.Addr)
	r.login(`path "secret/data/*" { capabilities = ["read"] }`, api.TokenCreateRequest{})

	ctx, stop := context.WithCancel(t.Context())
	var readers sync.WaitGroup
	seen := make([]int, secrets)
	var mu sync.Mutex
	for i := range secrets {
		readers.Go(func() {
			for ctx.Err() == nil {
				s, err := r.w.Get(ctx, read(path(i)))
				if err != nil {
					if ctx.Err() == nil {
						t.Errorf("%s: %v", path(i), err)
					}
					return
				}
				n, _ := strconv.Atoi(fmt.Sprint(s.Values()["n"]))
				mu.Lock()
				if n < seen[i] {
					t.Errorf("%s went back from %d to %d", path(i), seen[i], n)
				}
				seen[i] = n
				mu.Unlock()
				<-time.After(5 * time.Millisecond)
			}
		})
	}
	reach := func(generation int) {
		t.Helper()
		var got string
		for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); <-time.After(20 * time.Millisecond) {
			mu.Lock()
			got = fmt.Sprint(seen)
			mu.Unlock()
			if got == fmt.Sprint(slicesOf(generation, secrets)) {
				return
			}
		}
		t.Fatalf("not everybody saw %d: %s", generation, got)
	}
	reach(1)
	put(2)
	reach(2)
	leader.Kill(t)
	put(3)
	reach(3)
	stop()
	readers.Wait()
	select {
	case <-r.invalid:
		t.Error("the election was taken for an invalid token")
	default:
	}
	for _, s := range r.Status() {
		if strings.Contains(s.Error, "missing") || strings.Contains(s.Error, "denied") {
			t.Errorf("%s: %s", s.Request, s.Error)
		}
	}
}

func slicesOf(value, n int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = value
	}
	return all
}
