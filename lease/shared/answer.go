package shared

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Answer is one of Vault's, kept. It is immutable but for the end of its lease.
type Answer struct {
	header http.Header // shared between answers: read only
	body   []byte
	at     time.Duration // when Vault said it
	// ttl is where body says how long the lease lasts; both 0 = nowhere.
	ttlFrom, ttlTo int
	length         []string      // Content-Length while the ttl keeps its number of digits
	end            *atomic.Int64 // of the lease, on the clock
}

// parsed is what an answer says of itself.
type parsed struct {
	LeaseID   string          `json:"lease_id"`
	Renewable bool            `json:"renewable"`
	Duration  json.Number     `json:"lease_duration"`
	MountType string          `json:"mount_type"`
	Data      json.RawMessage `json:"data"`
	Wrap      json.RawMessage `json:"wrap_info"`
	Auth      *parsedAuth     `json:"auth"`
}

type parsedAuth struct {
	Token     string      `json:"client_token"`
	Accessor  string      `json:"accessor"`
	Duration  json.Number `json:"lease_duration"`
	Renewable bool        `json:"renewable"`
	Orphan    bool        `json:"orphan"`
	NumUses   int         `json:"num_uses"`
	Type      string      `json:"token_type"`
}

// parse reads an answer; nil when it is no JSON object of Vault's.
func parse(body []byte) *parsed {
	p := &parsed{}
	if json.Unmarshal(body, p) != nil {
		return nil
	}
	if string(p.Wrap) == "null" {
		p.Wrap = nil
	}
	return p
}

// place finds the lease's duration in the body p was read from.
func (p *parsed) place(body []byte) (from, to int) {
	if p.Auth != nil {
		return numberAt(body, "auth", "lease_duration")
	}
	return numberAt(body, "lease_duration")
}

// mayKeep is a cheap first look at an answer: most that cannot be kept end here.
func (f *Flight) mayKeep(body []byte) bool {
	if f.class != reading || f.c.cfg.Static && kvQuery(f.r.Query) {
		return true
	}
	return f.c.cfg.Leases && bytes.Contains(body, []byte(`"renewable"`)) && !bytes.Contains(body, []byte(`"renewable":false`))
}

// seconds of a duration as Vault says it.
func seconds(n json.Number) time.Duration {
	s, err := n.Int64()
	if err != nil || s < 0 || s > 1<<32 {
		return 0
	}
	return time.Duration(s) * time.Second
}

// numberAt finds the number at a path of keys in a JSON object: body[from:to].
func numberAt(body []byte, first string, below ...string) (from, to int) {
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if open, err := dec.Token(); err != nil || open != json.Delim('{') {
		return 0, 0
	}
	for dec.More() {
		key, err := dec.Token()
		if err != nil {
			return 0, 0
		}
		if key != first {
			var skip json.RawMessage
			if dec.Decode(&skip) != nil {
				return 0, 0
			}
			continue
		}
		if len(below) > 0 {
			var inner json.RawMessage
			if dec.Decode(&inner) != nil {
				return 0, 0
			}
			from, to := numberAt(inner, below[0], below[1:]...)
			if to == 0 {
				return 0, 0
			}
			start := int(dec.InputOffset()) - len(inner)
			return start + from, start + to
		}
		value, err := dec.Token()
		number, ok := value.(json.Number)
		if err != nil || !ok {
			return 0, 0
		}
		to := int(dec.InputOffset())
		return to - len(number), to
	}
	return 0, 0
}

// kvSecret reports whether p is the answer to a read of a KV secret at full: version 1,
// or data of version 2. Lists, metadata, subkeys and configuration are not.
func (p *parsed) kvSecret(full string) bool {
	if p.Auth != nil || p.LeaseID != "" || p.MountType != "" && p.MountType != "kv" {
		return false
	}
	var data map[string]json.RawMessage
	if json.Unmarshal(p.Data, &data) != nil || data == nil {
		return false
	}
	if inner, has := data["data"]; has && len(data) == 2 && strings.Contains(full, "/data/") {
		var meta struct {
			Version json.Number `json:"version"`
			Created string      `json:"created_time"`
		}
		return string(inner) != "null" && json.Unmarshal(data["metadata"], &meta) == nil && meta.Version != "" && meta.Created != ""
	}
	return p.MountType == "kv" && !special(data) // without a type, only version 2 can be told
}

// special recognises what a KV mount answers besides secrets, by its shape.
func special(data map[string]json.RawMessage) bool {
	has := func(keys ...string) bool {
		return !slices.ContainsFunc(keys, func(k string) bool { _, ok := data[k]; return !ok })
	}
	return has("keys") && len(data) <= 2 || has("versions", "current_version") || has("metadata", "subkeys") ||
		has("cas_required", "max_versions") || has("data", "metadata")
}

// keptHeader is h without what belongs to one transfer; equal to old, old itself.
func keptHeader(h, old http.Header) http.Header {
	kept := maps.Clone(h)
	for _, name := range []string{"Date", "Content-Length", "Connection", "Transfer-Encoding", "Keep-Alive", "Age", "X-Cache", "Trailer", "Set-Cookie"} {
		delete(kept, name)
	}
	if maps.EqualFunc(kept, old, slices.Equal) {
		return old
	}
	return kept
}

// cost is about how much memory an answer takes.
func (a *Answer) cost() int64 { return int64(len(a.body)) + 300 }

var hit = []string{"HIT"}

// write sends the answer as a hit: with Age, and with what is left of the lease.
func (a *Answer) write(w http.ResponseWriter, now time.Duration) {
	h := w.Header()
	for name, values := range a.header {
		h[name] = values
	}
	h["X-Cache"] = hit
	h["Age"] = []string{strconv.Itoa(int((now - a.at) / time.Second))}
	if a.ttlTo == 0 {
		h["Content-Length"] = a.length
		_, _ = w.Write(a.body)
		return
	}
	var number [20]byte
	left := strconv.AppendInt(number[:0], max(int64((time.Duration(a.end.Load())-now)/time.Second), 0), 10)
	if len(left) == a.ttlTo-a.ttlFrom {
		h["Content-Length"] = a.length
	} else {
		h["Content-Length"] = []string{strconv.Itoa(len(a.body) - (a.ttlTo - a.ttlFrom) + len(left))}
	}
	_, _ = w.Write(a.body[:a.ttlFrom])
	_, _ = w.Write(left)
	_, _ = w.Write(a.body[a.ttlTo:])
}
