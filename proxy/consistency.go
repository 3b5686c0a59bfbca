package proxy

import (
	"encoding/base64"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
)

// states remembers how far Vault's storage had come in the answers seen so far, so
// that a standby that lags behind is not believed. One for all clients.
type states struct {
	mode Inconsistent
	mu   sync.Mutex
	seen []state // at most two: neither is ahead of the other in both counters
}

// state is one X-Vault-Index: base64 of v1:cluster:local:replicated:hmac.
type state struct {
	raw, cluster      string
	local, replicated uint64
}

func parseState(raw string) (state, bool) {
	b, err := base64.StdEncoding.DecodeString(raw)
	if err != nil {
		return state{}, false
	}
	parts := strings.Split(string(b), ":")
	if len(parts) != 5 || parts[0] != "v1" {
		return state{}, false
	}
	local, err1 := strconv.ParseUint(parts[2], 10, 64)
	replicated, err2 := strconv.ParseUint(parts[3], 10, 64)
	return state{raw, parts[1], local, replicated}, err1 == nil && err2 == nil
}

// learn notes the states of an answer.
func (s *states) learn(h http.Header) {
	if s.mode == AsAsked {
		return
	}
	for _, raw := range h[headerIndex] {
		s.mu.Lock()
		s.seen = mergeState(s.seen, raw)
		s.mu.Unlock()
	}
}

// mergeState keeps what the new state does not cover. A state that cannot be
// compared, or of another cluster, replaces all.
func mergeState(seen []state, raw string) []state {
	fresh, ok := parseState(raw)
	if !ok {
		return []state{{raw: raw}}
	}
	out := make([]state, 0, 2)
	for _, old := range seen {
		switch {
		case old.cluster != fresh.cluster:
		case old.local >= fresh.local && old.replicated >= fresh.replicated:
			return seen
		case old.local <= fresh.local && old.replicated <= fresh.replicated:
		default:
			out = append(out, old)
		}
	}
	return append(out, fresh)
}

// send adds the remembered states to a request that does not settle this itself.
func (s *states) send(h http.Header) {
	if s.mode == AsAsked || len(h[headerIndex])+len(h[headerForward])+len(h[headerStale]) > 0 {
		return
	}
	s.mu.Lock()
	seen := slices.Clone(s.seen)
	s.mu.Unlock()
	for _, one := range seen {
		h[headerIndex] = append(h[headerIndex], one.raw)
	}
	if s.mode == Forward {
		h[headerStale] = []string{"forward-active-node"}
	}
}
