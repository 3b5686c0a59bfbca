package proxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

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
	Secrets   []SecretStats `json:",omitempty"` // see Config.Secrets
}

// SecretStats is how one secret that envexec itself keeps fresh is doing.
type SecretStats struct {
	Secret   string        // operation, path and version; the metrics show each once
	Age      time.Duration // since its value was last confirmed; negative = it has none yet
	EndsIn   time.Duration // until its lease or certificate ends; 0 = it has no end
	Failures int           // requests in a row that failed
	Error    string        // the last of them; "" after success. Shown in JSON only
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
	if p.cfg.Secrets != nil {
		s.Secrets = p.cfg.Secrets()
	}
	return s
}

func (p *Proxy) count(status int) {
	p.stats.forwarded.Add(1)
	if status >= 400 {
		p.stats.refused.Add(1)
	}
}

// serveStats answers the metrics endpoints.
func (p *Proxy) serveStats(w http.ResponseWriter, r *http.Request) {
	format := r.URL.Query().Get("format")
	accept := r.Header.Get("Accept")
	prometheus := format == "prometheus" || format == "" && (strings.Contains(accept, "openmetrics") || strings.Contains(accept, "prometheus"))
	switch {
	case prometheus && p.cfg.NoPrometheus:
		refuse(w, &refusal{http.StatusBadRequest, "prometheus is switched off by prometheus_retention_time = 0"})
	case prometheus:
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		_, _ = w.Write(p.Stats().prometheus(p.cfg.MetricsPrefix))
	case format == "":
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(p.Stats())
	default:
		refuse(w, &refusal{http.StatusBadRequest, "unknown format of metrics"})
	}
}

// prometheus is s in Prometheus' text format, its names beginning with prefix.
func (s Stats) prometheus(prefix string) []byte {
	var b bytes.Buffer
	head := func(name, kind, help string) {
		fmt.Fprintf(&b, "# HELP %[1]s_%[2]s %[4]s\n# TYPE %[1]s_%[2]s %[3]s\n", prefix, name, kind, help)
	}
	for _, m := range []struct {
		name, kind string
		value      uint64
		help       string
	}{
		{"requests_total", "counter", s.Requests, "Requests for Vault that came in."},
		{"forwarded_total", "counter", s.Forwarded, "Requests Vault answered."},
		{"refused_total", "counter", s.Refused, "Requests Vault answered with a status of 400 or above."},
		{"failed_total", "counter", s.Failed, "Requests Vault did not answer."},
		{"cancelled_total", "counter", s.Cancelled, "Requests whose client went away first."},
		{"cache_hits_total", "counter", s.Cache.Hits, "Requests answered from the cache."},
		{"cache_misses_total", "counter", s.Cache.Misses, "Requests the cache had no answer for."},
		{"cache_entries", "gauge", uint64(s.Cache.Entries), "Answers in the cache."},
		{"cache_bytes", "gauge", uint64(s.Cache.Bytes), "Size of the answers in the cache."},
		{"cache_events", "gauge", flag(s.Cache.Events), "1 when Vault tells the cache of changes."},
	} {
		head("proxy_"+m.name, m.kind, m.help)
		fmt.Fprintf(&b, "%s_proxy_%s %d\n", prefix, m.name, m.value)
	}
	for _, m := range []struct {
		name, help string
		value      func(SecretStats) (value float64, there bool)
	}{
		{"age_seconds", "Time since the secret was last confirmed by Vault.", func(s SecretStats) (float64, bool) { return s.Age.Seconds(), s.Age >= 0 }},
		{"ends_seconds", "Time until the secret's lease or certificate ends.", func(s SecretStats) (float64, bool) { return s.EndsIn.Seconds(), s.EndsIn > 0 }},
		{"failures", "Requests for the secret that failed in a row.", func(s SecretStats) (float64, bool) { return float64(s.Failures), true }},
	} {
		begun := false
		for _, one := range s.Secrets {
			value, there := m.value(one)
			if !there {
				continue
			}
			if !begun {
				head("secret_"+m.name, "gauge", m.help)
				begun = true
			}
			fmt.Fprintf(&b, "%s_secret_%s{secret=\"%s\"} %g\n", prefix, m.name, label.Replace(one.Secret), value)
		}
	}
	return b.Bytes()
}

// label escapes a label's value.
var label = strings.NewReplacer(`\`, `\\`, `"`, `\"`, "\n", `\n`)

func flag(on bool) uint64 {
	if on {
		return 1
	}
	return 0
}
