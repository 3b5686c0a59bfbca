package lease

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/Shopify/toxiproxy/v2"
	"github.com/hashicorp/vault/api"
	"github.com/rs/zerolog"

	"github.com/envexec/envexec/internal/vaulttest"
	"github.com/envexec/envexec/secret"
)

// toxic is a road to Vault that can be poisoned.
type toxic struct {
	*toxiproxy.Proxy
	t *testing.T
}

func poisonable(t *testing.T, upstream string) *toxic {
	t.Helper()
	server := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop())
	p := toxiproxy.NewProxy(server, "vault", "127.0.0.1:0", upstream)
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return &toxic{p, t}
}

func (x *toxic) add(json string) {
	x.t.Helper()
	if _, err := x.Toxics.AddToxicJson(strings.NewReader(json)); err != nil {
		x.t.Fatal(err)
	}
}

// TestThroughABadNetwork: whatever the network does, a value is the right one or none;
// nothing hangs on it for ever, and once it heals everything is there.
func TestThroughABadNetwork(t *testing.T) {
	vault := vaulttest.Start(t)
	root := vault.Client(t)
	_, address, _ := strings.Cut(root.Address(), "//")
	const secrets = 12
	path := func(i int) string { return fmt.Sprintf("secret/data/s%d", i) }
	write := func(generation string) {
		for i := range secrets {
			vault.PutKV2(t, fmt.Sprintf("secret/s%d", i), map[string]any{"k": fmt.Sprint(i, " ", generation, strings.Repeat("x", 2000))})
		}
	}
	for name, poison := range map[string]struct {
		json   string
		severs bool // nothing comes through while it lasts
	}{
		"latency":    {json: `{"type":"latency","attributes":{"latency":150,"jitter":100}}`},
		"bandwidth":  {json: `{"type":"bandwidth","attributes":{"rate":64}}`},
		"slow close": {json: `{"type":"slow_close","attributes":{"delay":300}}`},
		"slicer":     {json: `{"type":"slicer","attributes":{"average_size":200,"size_variation":100,"delay":500}}`},
		"timeout":    {json: `{"type":"timeout","attributes":{"timeout":200}}`, severs: true},
		"reset":      {json: `{"type":"reset_peer","attributes":{"timeout":50}}`, severs: true},
		"data loss":  {json: `{"type":"limit_data","attributes":{"bytes":900}}`, severs: true},
		"requests lost": {
			json: `{"type":"timeout","stream":"upstream","toxicity":0.5,"attributes":{"timeout":100}}`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			write("first")
			road := poisonable(t, address)
			r := onVaultAt(t, Config{
				StaticInterval: 100 * time.Millisecond, MinInterval: 50 * time.Millisecond,
				MinBackoff: 10 * time.Millisecond, MaxBackoff: 200 * time.Millisecond, RequestTimeout: 3 * time.Second,
			}, root, "http://"+road.Listen)
			r.login(`path "secret/data/*" { capabilities = ["read"] }`, api.TokenCreateRequest{})
			for i := range secrets / 2 {
				r.is(path(i), fmt.Sprint(i, " first"))
			}

			road.add(poison.json)
			write("second")
			if poison.severs { // what is there stays, what is new is waited for
				r.broken(path(0))
				r.is(path(0), "0 first")
				ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
				_, err := r.w.Get(ctx, read(path(secrets-1)))
				cancel()
				if err == nil {
					t.Error("a new secret came through")
				}
			} else {
				for i := range secrets {
					r.becomes(path(i), fmt.Sprint(i, " second"))
				}
			}
			road.Toxics.ResetToxics(t.Context())
			write("third")
			for i := range secrets {
				r.becomes(path(i), fmt.Sprint(i, " third"))
			}
			select {
			case tok := <-r.invalid:
				t.Errorf("the network was taken for an invalid token: %v", tok.Epoch)
			default:
			}
		})
	}
}

// is fails the test unless the value at path begins so and is whole.
func (r *real) is(path, want string) {
	r.t.Helper()
	if got, ok := r.value(path); !ok || !strings.HasPrefix(got, want+"x") || len(got) != len(want)+2000 {
		r.t.Fatalf("%s is %.20q of %d bytes, want %q", path, got, len(got), want)
	}
}

// becomes waits for a value, for every one before must have been right as well.
func (r *real) becomes(path, want string) {
	r.t.Helper()
	deadline := time.After(60 * time.Second)
	for {
		got, ok := r.value(path)
		if ok && len(got) != len(strings.TrimRight(got, "x"))+2000 {
			r.t.Fatalf("%s has a part of a value: %d bytes", path, len(got))
		}
		if strings.HasPrefix(got, want+"x") {
			return
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-deadline:
			r.t.Fatalf("%s never became %q; it is %.20q", path, want, got)
		}
	}
}

func (r *real) value(path string) (string, bool) {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), 60*time.Second)
	defer cancel()
	s, err := r.w.Get(ctx, read(path))
	if err != nil {
		r.t.Fatalf("%s: %v", path, err)
	}
	text, ok := s.Values()["k"].(string)
	return text, ok
}

// broken waits until reading path has failed.
func (r *real) broken(path string) {
	r.t.Helper()
	for deadline := time.Now().Add(60 * time.Second); time.Now().Before(deadline); <-time.After(10 * time.Millisecond) {
		for _, s := range r.Status() {
			if s.Request == (secret.Request{Path: path}).String() && s.Failures > 0 && s.Error != "" {
				return
			}
		}
	}
	r.t.Fatalf("reading %s never failed", path)
}

// TestASilentAddressIsGivenUpInTime: connections that are accepted and never answered.
func TestASilentAddressIsGivenUpInTime(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	root := vaulttest.Start(t).Client(t)
	r := onVaultAt(t, Config{RequestTimeout: 200 * time.Millisecond, MinBackoff: 10 * time.Millisecond}, root, "http://"+l.Addr().String())
	r.login(`path "secret/data/*" { capabilities = ["read"] }`, api.TokenCreateRequest{})
	r.w.Want(read("secret/data/a"))
	r.broken("secret/data/a")
}
