package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/auth"
	"github.com/envexec/envexec/auth/method"
	"github.com/envexec/envexec/envtemplate"
	"github.com/envexec/envexec/lease"
	"github.com/envexec/envexec/secret"
)

// question is one secret that is named outright, and what Vault says of it.
type question struct {
	secret.Request
	client *api.Client
	at     string // the path of the request: KV 2 has data/ or metadata/ in it
	engine string // "" = its mount is not known
	may    []string
	err    error // the question itself failed

	value  *secret.Secret // KV only
	refuse error
}

// secrets says what the token may do with everything that is known to be wanted. KV secrets
// are read, which changes nothing and makes no lease, to see whether they and their keys are there.
func (c *checkup) secrets(ctx context.Context, store *lease.Store, client *api.Client, renderers []*envtemplate.Renderer) {
	asked := map[secret.Key]*question{}
	for _, r := range renderers {
		for _, req := range r.Requests() {
			asked[req.Key()] = &question{Request: req, client: within(client, req.Namespace)}
		}
	}
	list := make([]*question, 0, len(asked))
	for _, key := range slices.Sorted(maps.Keys(asked)) {
		list = append(list, asked[key])
	}
	locate(ctx, list)
	capabilities(ctx, list)
	readKV(ctx, store, client, list)
	for _, q := range list {
		c.allowed(q)
	}
	for _, r := range renderers {
		for _, p := range r.Try(ctx, func(req secret.Request) (*secret.Secret, error) {
			if q := asked[req.Key()]; q != nil && (q.value != nil || q.refuse != nil) {
				return q.value, q.refuse
			}
			return nil, envtemplate.ErrUntried
		}) {
			if p.Patient {
				c.add(doubt, "secret", "%v", p.Err)
			} else {
				c.fail("secret", statusConfig, p.Err)
			}
		}
	}
}

// within is the client in a namespace below its own.
func within(base *api.Client, namespace string) *api.Client {
	if namespace == "" {
		return base
	}
	client := base.WithNamespace(strings.Trim(base.Namespace(), "/") + "/" + strings.Trim(namespace, "/"))
	client.SetToken(base.Token())
	return client
}

// locate finds the mount of each secret; one answer serves all that are in it.
func locate(ctx context.Context, list []*question) {
	type mount struct {
		namespace, path, engine string
		kv2                     bool
	}
	var known []mount
	for _, q := range list {
		path := strings.Trim(q.Path, "/")
		at := slices.IndexFunc(known, func(m mount) bool { return m.namespace == q.Namespace && strings.HasPrefix(path+"/", m.path) })
		if at < 0 {
			q.at = q.Path
			s, err := method.Send(ctx, q.client, http.MethodGet, "sys/internal/ui/mounts/"+path, nil)
			if err != nil || s == nil {
				continue
			}
			m := mount{namespace: q.Namespace}
			m.path, _ = s.Data["path"].(string)
			m.engine, _ = s.Data["type"].(string)
			options, _ := s.Data["options"].(map[string]any)
			m.kv2 = options["version"] == "2"
			if m.path == "" || !strings.HasPrefix(path+"/", m.path) {
				continue
			}
			known, at = append(known, m), len(known)
		}
		m := known[at]
		q.at, q.engine = q.Path, m.engine
		below := map[secret.Op]string{secret.Read: "data/", secret.List: "metadata/"}[q.Op]
		if rest := strings.TrimPrefix(path+"/", m.path); m.kv2 && below != "" && !strings.HasPrefix(rest, below) {
			q.at = strings.TrimSuffix(m.path+below+rest, "/")
		}
	}
}

// capabilityBatch is how many paths are asked for at once.
const capabilityBatch = 100

// capabilities asks what the token may do.
func capabilities(ctx context.Context, list []*question) {
	ordered := slices.Clone(list)
	slices.SortStableFunc(ordered, func(a, b *question) int { return cmp.Compare(a.Namespace, b.Namespace) })
	for len(ordered) > 0 {
		n := 1
		for n < min(len(ordered), capabilityBatch) && ordered[n].Namespace == ordered[0].Namespace {
			n++
		}
		batch := ordered[:n]
		ordered = ordered[n:]
		var paths []string
		for _, q := range batch {
			paths = append(paths, q.at)
		}
		s, err := method.Send(ctx, batch[0].client, http.MethodPut, "sys/capabilities-self", map[string]any{"paths": paths})
		for _, q := range batch {
			if q.err = err; err != nil || s == nil {
				continue
			}
			may, _ := s.Data[q.at].([]any)
			for _, one := range may {
				q.may = append(q.may, fmt.Sprint(one))
			}
		}
	}
}

// needed is the capability q's request needs, and the word for having it.
func (q *question) needed() (capability, done string) {
	switch q.Op {
	case secret.List:
		return "list", "listed"
	case secret.Write:
		return "update", "written"
	}
	return "read", "read"
}

func (q *question) granted() bool {
	need, _ := q.needed()
	return slices.Contains(q.may, need) || slices.Contains(q.may, "root") || q.Op == secret.Write && slices.Contains(q.may, "create")
}

// readKV reads the KV secrets the token may read, as the run would.
func readKV(ctx context.Context, store *lease.Store, client *api.Client, list []*question) {
	running, stop := context.WithCancel(ctx)
	var group sync.WaitGroup
	defer group.Wait()
	defer stop()
	group.Go(func() { _ = store.Run(running) })
	token := secret.Token{ID: secret.NewText(client.Token()), Epoch: 1, Namespace: client.Namespace()}
	if err := store.WriteToken(ctx, token); err != nil {
		return
	}
	reader := store.Watch()
	defer reader.Close()
	var reads sync.WaitGroup
	for _, q := range list {
		kv := q.engine == "kv" || q.engine == "generic"
		if q.Op == secret.Read && kv && (q.granted() || q.err != nil) {
			reads.Go(func() { q.value, q.refuse = reader.Get(ctx, q.Request) })
		}
	}
	reads.Wait()
}

// allowed says whether the token may do what is wanted.
func (c *checkup) allowed(q *question) {
	need, done := q.needed()
	switch {
	case q.value != nil:
		c.add(fine, "secret", "%s: may be read", q)
	case q.refuse != nil: // told with what needs it
	case q.err != nil:
		c.add(doubt, "secret", "%s: cannot tell whether it may be %s: %s", q, done, auth.Describe(q.err))
	case !q.granted() && q.engine == "":
		c.add(doubt, "secret", "%s: cannot tell whether it may be %s: its mount is not known", q, done)
	case !q.granted():
		c.fail("secret", statusConfig, fmt.Errorf("%s: the token may not %s it (%s): a policy has to give it %q on %q",
			q, strings.Replace(need, "update", "write", 1), strings.Join(q.may, ", "), need, q.at))
	case q.engine == "":
		c.add(doubt, "secret", "%s: may be %s, but no secrets engine is known there", q, done)
	default:
		c.add(fine, "secret", "%s: may be %s", q, done)
	}
}
