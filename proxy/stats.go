package proxy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/envexec/envexec/lease/shared"
)

// Stats counts what happened since the start.
type Stats struct {
	Requests  uint64 // came in for Vault
	Forwarded uint64 // were answered by Vault
	Refused   uint64 // got a status of 400 or above from Vault
	Failed    uint64 // Vault did not answer
	Cancelled uint64 // the client went away first
	Cache     shared.Stats
}

type counters struct {
	requests, forwarded, refused, failed, cancelled atomic.Uint64
}

// Stats returns the counters.
func (p *Proxy) Stats() Stats {
	s := Stats{
		Requests: p.stats.requests.Load(), Forwarded: p.stats.forwarded.Load(), Refused: p.stats.refused.Load(),
		Failed: p.stats.failed.Load(), Cancelled: p.stats.cancelled.Load(),
	}
	if p.cache != nil {
		s.Cache = p.cache.Stats()
	}
	return s
}

func (p *Proxy) count(status int) {
	p.stats.forwarded.Add(1)
	if status >= 400 {
		p.stats.refused.Add(1)
	}
}

// serveStats answers the metrics endpoints with our own counters.
func (p *Proxy) serveStats(w http.ResponseWriter, r *http.Request) {
	format := r.URL.Query().Get("format")
	accept := r.Header.Get("Accept")
	s := p.Stats()
	switch {
	case format == "prometheus", format == "" && (strings.Contains(accept, "openmetrics") || strings.Contains(accept, "prometheus")):
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		for _, m := range []struct {
			name, kind string
			value      uint64
		}{
			{"requests_total", "counter", s.Requests}, {"forwarded_total", "counter", s.Forwarded},
			{"refused_total", "counter", s.Refused}, {"failed_total", "counter", s.Failed},
			{"cancelled_total", "counter", s.Cancelled}, {"cache_hits_total", "counter", s.Cache.Hits},
			{"cache_misses_total", "counter", s.Cache.Misses}, {"cache_entries", "gauge", uint64(s.Cache.Entries)},
			{"cache_bytes", "gauge", uint64(s.Cache.Bytes)}, {"cache_events", "gauge", flag(s.Cache.Events)},
		} {
			fmt.Fprintf(w, "# TYPE envexec_proxy_%[1]s %[2]s\nenvexec_proxy_%[1]s %[3]d\n", m.name, m.kind, m.value)
		}
	case format == "":
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(s)
	default:
		refuse(w, &refusal{http.StatusBadRequest, "unknown format of metrics"})
	}
}

func flag(on bool) uint64 {
	if on {
		return 1
	}
	return 0
}
