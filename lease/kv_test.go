package lease

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/envexec/envexec/secret"
)

// kvServer is a fake with secret/ = KV v2, old/ = KV v1, both below one policy answer for wrong paths.
type kvServer struct {
	wrong     int // status for a path that is not there
	probeFail int // this many probes fail
}

func (k *kvServer) serve(c call) reply {
	switch {
	case strings.HasPrefix(c.path, "sys/internal/ui/mounts/"):
		if k.probeFail > 0 {
			k.probeFail--
			return refusal(500, "no")
		}
		rest := strings.TrimPrefix(c.path, "sys/internal/ui/mounts/")
		m, _, _ := strings.Cut(rest, "/")
		version := map[string]string{"secret": "2", "old": "1"}[m]
		if version == "" {
			return refusal(403, "permission denied")
		}
		return reply{status: 200, body: map[string]any{"data": map[string]any{"path": m + "/", "type": "kv", "options": map[string]any{"version": version}}}}
	case strings.HasPrefix(c.path, "secret/data/app"):
		if c.method == "PUT" {
			return reply{status: 200, body: map[string]any{"data": map[string]any{"version": 4}}}
		}
		return kv2Answer(3, map[string]any{"k": c.path + "?" + c.raw})
	case c.path == "old/app":
		return reply{status: 200, body: map[string]any{"mount_type": "kv", "lease_duration": 2764800, "data": map[string]any{"k": "one"}}}
	case c.method == "LIST" && strings.HasPrefix(c.path, "secret/metadata"):
		return reply{status: 200, body: map[string]any{"data": map[string]any{"keys": []string{"app"}}}}
	}
	return refusal(k.wrong, map[int]string{403: "permission denied"}[k.wrong])
}

func TestKVVersionIsFoundOut(t *testing.T) {
	for _, wrong := range []int{403, 404} {
		t.Run(fmt.Sprint(wrong), func(t *testing.T) {
			k := &kvServer{wrong: wrong, probeFail: 2}
			inBubble(t, Config{}, k.serve, func(w *world) {
				w.login(1)
				s := w.get(read("secret/app"))
				if s.KV != 2 || s.Version != 3 || s.Values()["k"] != "secret/data/app?" {
					t.Fatalf("KV %d version %d: %v", s.KV, s.Version, s.Values())
				}
				if n := len(w.vault.seen("sys/internal")); n != 3 {
					t.Errorf("%d probes, want two failed and one good", n)
				}
				before := len(w.vault.seen(""))
				w.get(read("secret/app2"))
				w.get(read("secret/data/app3"))
				if got := w.get(secret.Request{Path: "secret/app", Version: 2}).Values()["k"]; got != "secret/data/app?version=2" {
					t.Errorf("version: %v", got)
				}
				if n := len(w.vault.seen("")) - before; n != 3 {
					t.Errorf("%d requests for three more secrets of a known mount", n)
				}
				if got := w.get(secret.Request{Op: secret.List, Path: "secret/"}).Data["keys"]; fmt.Sprint(got) != "[app]" {
					t.Errorf("list: %v", got)
				}
				if s := w.get(read("old/app")); s.KV != 1 || s.Values()["k"] != "one" {
					t.Errorf("KV v1: %v", s.Values())
				}
			})
		})
	}
}

func TestDataPathAsWrittenNeedsNoProbe(t *testing.T) {
	k := &kvServer{wrong: 404}
	inBubble(t, Config{}, k.serve, func(w *world) {
		w.login(1)
		if s := w.get(read("secret/data/app")); s.KV != 2 || len(w.vault.seen("")) != 1 {
			t.Errorf("KV %d after %v", s.KV, w.vault.seen(""))
		}
	})
}

func TestMountIsAskedAboutOnceByAllAtOnce(t *testing.T) {
	k := &kvServer{wrong: 404}
	serve := func(c call) reply {
		r := k.serve(c)
		r.delay = 100 * time.Millisecond
		return r
	}
	inBubble(t, Config{}, serve, func(w *world) {
		w.login(1)
		for i := range 20 {
			w.w.Want(read(fmt.Sprintf("secret/app%d", i)))
		}
		pass(10 * time.Second)
		if n := len(w.vault.seen("sys/internal")); n != 1 {
			t.Errorf("%d probes of one mount", n)
		}
	})
}

func TestWriteToKV2InTheWordsOfV1(t *testing.T) {
	k := &kvServer{wrong: 404}
	inBubble(t, Config{}, k.serve, func(w *world) {
		w.login(1)
		w.get(secret.Request{Op: secret.Write, Path: "secret/app", Body: map[string]any{"a": "b"}})
		calls := w.vault.seen("secret/data/app")
		if len(calls) != 1 || fmt.Sprint(calls[0].body) != "map[data:map[a:b]]" {
			t.Errorf("%v", calls)
		}
	})
}

func TestMissingAndForeignPathsKeepTheirOwnError(t *testing.T) {
	k := &kvServer{wrong: 404}
	inBubble(t, Config{}, k.serve, func(w *world) {
		w.login(1)
		for _, path := range []string{"secret/nothing", "secret/data/nothing", "old/nothing", "database/creds/nothing"} {
			if _, err := w.w.Get(w.t.Context(), read(path)); !errors.Is(err, secret.ErrMissing) || !strings.Contains(err.Error(), path) {
				t.Errorf("%s: %v", path, err)
			}
		}
		n := len(w.vault.seen("sys/internal"))
		if n != 3 {
			t.Errorf("%d probes for three mounts", n)
		}
	})
}

func TestKV1HasItsOwnIntervalWhateverTheMountSays(t *testing.T) {
	k := &kvServer{wrong: 404}
	inBubble(t, Config{StaticInterval: time.Minute}, k.serve, func(w *world) {
		w.login(1)
		w.get(read("old/app"))
		pass(10 * time.Minute)
		if n := len(w.vault.seen("old/app")); n != 11 {
			t.Errorf("%d reads in ten minutes", n)
		}
	})
}

func TestPhysicalPath(t *testing.T) {
	two, one := mount{path: "kv/two/", version: 2}, mount{path: "kv/one/", version: 1}
	for _, tc := range []struct {
		mt         mount
		op         secret.Op
		path, want string
	}{
		{two, secret.Read, "kv/two/app", "kv/two/data/app"},
		{two, secret.Read, "kv/two/a/b", "kv/two/data/a/b"},
		{two, secret.Read, "kv/two/data/a", "kv/two/data/a"},
		{two, secret.Read, "kv/two/data", "kv/two/data/data"},
		{two, secret.Read, "kv/two/metadata/a", "kv/two/metadata/a"},
		{two, secret.Read, "kv/two/subkeys/a", "kv/two/subkeys/a"},
		{two, secret.Read, "kv/two/config", "kv/two/config"},
		{two, secret.List, "kv/two", "kv/two/metadata/"},
		{two, secret.List, "kv/two/", "kv/two/metadata/"},
		{two, secret.List, "kv/two/a", "kv/two/metadata/a"},
		{two, secret.List, "kv/two/metadata/a", "kv/two/metadata/a"},
		{one, secret.Read, "kv/one/app", "kv/one/app"},
		{one, secret.List, "kv/one/app", "kv/one/app"},
		{mount{}, secret.Read, "x/y", "x/y"},
	} {
		if got := tc.mt.physical(tc.op, tc.path); got != tc.want {
			t.Errorf("%s %s: %s, want %s", tc.op, tc.path, got, tc.want)
		}
	}
}
