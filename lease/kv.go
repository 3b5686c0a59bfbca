package lease

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/envexec/envexec/secret"
)

// mounts remembers what sys/internal/ui/mounts said, per namespace and mount.
type mounts struct {
	mu     sync.Mutex
	known  map[string]mount  // by namespace and mount path
	asking map[string]*probe // by namespace and the path's first segment
}

// mount is one mount's answer.
type mount struct {
	path    string // with trailing slash
	version int    // 1 or 2; 0 = not KV
	asked   time.Duration
}

// probe is one question in flight, shared by all who ask it.
type probe struct {
	done chan struct{}
	err  error
}

func newMounts() *mounts {
	return &mounts{known: map[string]mount{}, asking: map[string]*probe{}}
}

// find returns the known mount that path is below.
func (m *mounts) find(namespace, path string) (mount, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i := range len(path) {
		if path[i] != '/' {
			continue
		}
		if found, ok := m.known[namespace+"\x00"+path[:i+1]]; ok {
			return found, true
		}
	}
	found, ok := m.known[namespace+"\x00"+path+"/"]
	return found, ok
}

// ask runs question once for all callers with the same first path segment.
func (m *mounts) ask(ctx context.Context, namespace, path string, question func() (mount, error)) error {
	first, _, _ := strings.Cut(path, "/")
	key := namespace + "\x00" + first
	m.mu.Lock()
	if p, ok := m.asking[key]; ok {
		m.mu.Unlock()
		select {
		case <-p.done:
			return p.err
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	p := &probe{done: make(chan struct{})}
	m.asking[key] = p
	m.mu.Unlock()

	found, err := question()
	m.mu.Lock()
	delete(m.asking, key)
	if err == nil {
		m.known[namespace+"\x00"+found.path] = found
	}
	m.mu.Unlock()
	p.err = err
	close(p.done)
	return err
}

// physical returns where a request for path really goes below mount mt.
func (mt mount) physical(op secret.Op, path string) string {
	rest := strings.TrimPrefix(strings.TrimPrefix(path, strings.TrimSuffix(mt.path, "/")), "/")
	if mt.version != 2 {
		return path
	}
	verb, _, _ := strings.Cut(rest, "/")
	insert := "data/"
	switch {
	case op == secret.List:
		insert = "metadata/"
		if verb == "metadata" {
			return path
		}
	case rest == "config":
		return path
	case strings.Contains(rest, "/"):
		switch verb {
		case "data", "metadata", "subkeys", "delete", "undelete", "destroy":
			return path
		}
	}
	return mt.path + insert + rest
}

// fetch performs req: as it is written, or, where that is refused or known to be
// wrong, as the mount's KV version wants it.
func (s *Store) fetch(ctx context.Context, tok *secret.Token, req secret.Request) (*secret.Secret, *answer, error) {
	mt, known := s.mounts.find(req.Namespace, req.Path)
	path := mt.physical(req.Op, req.Path)
	a, err := s.send(ctx, tok, req, path)
	if err == nil || path != req.Path || !mayBeKV(err) || known && s.now()-mt.asked < s.cfg.StaticInterval {
		return s.finish(req, mt, a, err)
	}
	if perr := s.askMount(ctx, tok, req); perr != nil {
		var said *AnswerError
		var f *failure
		if errors.As(perr, &f) && f.kind == refused && errors.As(perr, &said) {
			return nil, nil, err // the mount is none of our business, so neither is its version
		}
		return nil, nil, perr
	}
	mt, _ = s.mounts.find(req.Namespace, req.Path)
	if path = mt.physical(req.Op, req.Path); path == req.Path {
		return nil, nil, err
	}
	a, err = s.send(ctx, tok, req, path)
	return s.finish(req, mt, a, err)
}

// finish makes the secret of an answer.
func (s *Store) finish(req secret.Request, mt mount, a *answer, err error) (*secret.Secret, *answer, error) {
	if err != nil {
		return nil, nil, err
	}
	sec := a.toSecret(req, mt.version)
	if _, gone, ok := kv2(a.data); ok && sec.KV == 2 && gone != "" {
		return nil, nil, missing(req, http.StatusNotFound, gone)
	}
	return sec, a, nil
}

// mayBeKV reports whether err is one that a KV v2 mount gives to a path without data/.
func mayBeKV(err error) bool {
	var f *failure
	if !errors.As(err, &f) || f.kind != refused {
		return false
	}
	var said *AnswerError
	if errors.As(err, &said) && said.Detail != "" {
		return false // a deleted version: the path was right
	}
	return errors.Is(err, secret.ErrMissing) || errors.Is(err, secret.ErrForbidden)
}

// askMount learns the mount of req's path.
func (s *Store) askMount(ctx context.Context, tok *secret.Token, req secret.Request) error {
	return s.mounts.ask(ctx, req.Namespace, req.Path, func() (mount, error) {
		question := secret.Request{Path: "sys/internal/ui/mounts/" + strings.Trim(req.Path, "/"), Namespace: req.Namespace}
		a, err := s.send(ctx, tok, question, question.Path)
		if err != nil {
			return mount{}, err
		}
		mt := mount{asked: s.now()}
		mt.path, _ = a.data["path"].(string)
		if kind, _ := a.data["type"].(string); kind == "kv" || kind == "generic" {
			mt.version = 1
			if options, _ := a.data["options"].(map[string]any); options["version"] == "2" {
				mt.version = 2
			}
		}
		if mt.path == "" || !strings.HasPrefix(req.Path+"/", mt.path) {
			return mount{}, &failure{kind: refused, err: &AnswerError{Request: question.String(), Status: http.StatusOK, Detail: "no mount"}}
		}
		return mt, nil
	})
}

// missing is the failure of a secret that is not there.
func missing(req secret.Request, status int, detail string) *failure {
	return &failure{kind: refused, err: &AnswerError{Request: req.String(), Status: status, Detail: detail, kind: secret.ErrMissing}}
}
