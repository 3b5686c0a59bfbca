package lease

import (
	"bytes"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/envexec/envexec/secret"
)

// restore gives e the value of its record, if that is young and alive. s.mu is held.
func (s *Store) restore(e *entry) bool {
	if s.shelf == nil || e.value != nil {
		return false
	}
	rec, ok := s.shelf.records[string(e.key)]
	if !ok {
		return false
	}
	delete(s.shelf.records, string(e.key))
	readAt, young := s.shelf.age(rec)
	var k kept
	if !young || decode(rec[8:], &k) != nil {
		return false
	}
	now, wall := s.now(), time.Now()
	if !k.Ends.IsZero() {
		if !k.Ends.After(wall) {
			return false
		}
		e.lease = lease{start: now, end: now + k.Ends.Sub(wall), ttl: k.Ends.Sub(wall)}
	}
	e.value = &secret.Secret{
		Request: e.req, Data: k.Data, Warnings: k.Warnings, KV: k.KV, Version: k.Version,
		LeaseID: k.LeaseID, LeaseTTL: max(k.Ends.Sub(wall), 0), ReadAt: readAt,
	}
	if k.Ends.IsZero() {
		e.value.LeaseTTL = 0
	}
	e.restored, e.refuse = true, nil
	if e.req.Op == secret.Write && k.LeaseID == "" { // still good: not made again before its time
		e.fetchAt = never
		if !k.Due.IsZero() {
			e.fetchAt = now + max(k.Due.Sub(wall), 0)
		}
		if e.phase == queued {
			s.requeue(e)
		}
	}
	for _, w := range e.readers {
		w.moved(e, nil, true)
	}
	e.wake()
	return true
}

func decode(text []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	return dec.Decode(into)
}

// fallBack restores e because Vault does not answer, and says so. s.mu is held.
func (s *Store) fallBack(e *entry, cause error) {
	if !s.restore(e) {
		return
	}
	age := time.Since(e.value.ReadAt).Round(time.Second)
	if !s.shelf.warned {
		s.shelf.warned = true
		s.shelf.giveUp()
		s.log.Warn("vault does not answer, using secrets of the sealed cache", "secret", e.req.String(), "age", age, "error", cause)
		return
	}
	s.log.Info("using the sealed cache", "secret", e.req.String(), "age", age)
}

// reuse restores what was made for good in an earlier life: a certificate that is
// not due yet, and what a wrapping token gave, which it gives once only. s.mu is held.
func (s *Store) reuse(e *entry) {
	rec := s.shelf.records[string(e.key)]
	var k kept
	if e.req.Op != secret.Write || len(rec) < 8 || decode(rec[8:], &k) != nil {
		return
	}
	if k.LeaseID == "" && k.Due.After(time.Now()) || unwrapping(e.req) {
		s.restore(e)
	}
}

// VaultDown tells that Vault does not answer, the login foremost: who waits gets
// what the cache has, at once, until a token comes.
func (s *Store) VaultDown(cause error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shelf == nil {
		return
	}
	s.shelf.down = true
	s.shelf.giveUp()
	for _, e := range s.entries {
		s.fallBack(e, cause)
	}
}

// FallenBack is closed when Vault is no longer waited for, because it does not answer:
// what there is, of the cache or elsewhere, is all there will be for now. It is nil
// without a cache.
func (s *Store) FallenBack() <-chan struct{} {
	if s.shelf == nil {
		return nil
	}
	return s.shelf.fell
}

// Revoked tells that our tokens were revoked, and with them their leases: the
// cache must not hand these out again. Call it after Run has ended.
func (s *Store) Revoked() error {
	if s.shelf == nil {
		return nil
	}
	s.mu.Lock()
	names := make([]string, 0, len(s.shelf.leased))
	for name := range s.shelf.leased {
		names = append(names, name)
	}
	clear(s.shelf.leased)
	s.mu.Unlock()
	return s.shelf.cache.Save(nil, names)
}

// silent reports whether a failure means that there is no working Vault to ask.
func silent(why *failure) bool {
	var said *AnswerError
	if !errors.As(why, &said) {
		return true
	}
	return said.Status == http.StatusServiceUnavailable || said.Status == http.StatusNotImplemented
}

// errSilent is the cause of a fallback nobody gave another cause for.
var errSilent = errors.New("no answer yet")

// fallbackTimer fires when e has been waited for long enough; nil when there is
// nothing to fall back to.
func (s *Store) fallbackTimer(e *entry) <-chan time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.shelf == nil || s.shelf.records[string(e.key)] == nil {
		return nil
	}
	return time.After(e.born + s.cfg.FallbackAfter - s.now())
}

// giveUpWaiting falls back for e.
func (s *Store) giveUpWaiting(e *entry) {
	s.mu.Lock()
	defer s.mu.Unlock()
	cause := e.err
	if cause == nil {
		cause = errSilent
	}
	s.fallBack(e, cause)
}
