package lease

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/envexec/envexec/secret"
)

const (
	// maxAnswer bounds an answer's body; Vault itself takes requests up to 32 MiB.
	maxAnswer = 64 << 20
	// maxTTL keeps hostile numbers countable.
	maxTTL = 100 * 365 * 24 * time.Hour
)

// answer is what Vault said, as far as the Store cares.
type answer struct {
	data      map[string]any
	warnings  []string
	leaseID   string
	ttl       time.Duration
	renewable bool
	mountType string
	date      time.Time // the server's clock; zero when it did not say
}

// wire is the JSON of every Vault answer.
type wire struct {
	LeaseID       string         `json:"lease_id"`
	LeaseDuration json.Number    `json:"lease_duration"`
	Renewable     bool           `json:"renewable"`
	Data          map[string]any `json:"data"`
	Warnings      []string       `json:"warnings"`
	WrapInfo      *struct{}      `json:"wrap_info"`
	MountType     string         `json:"mount_type"`
}

var (
	errEmpty   = errors.New("the answer is empty")
	errWrapped = errors.New("the answer is response-wrapped: a control group or wrapping policy is in the way")
)

// readAnswer decodes one successful answer.
func readAnswer(header http.Header, body io.Reader) (*answer, error) {
	dec := json.NewDecoder(io.LimitReader(body, maxAnswer))
	dec.UseNumber()
	var w wire
	switch err := dec.Decode(&w); {
	case errors.Is(err, io.EOF):
		return nil, errEmpty
	case err != nil:
		return nil, fmt.Errorf("decode answer: %w", withoutText(err))
	case w.WrapInfo != nil:
		return nil, errWrapped
	}
	a := &answer{
		data: w.Data, warnings: w.Warnings,
		leaseID: w.LeaseID, ttl: seconds(w.LeaseDuration), renewable: w.Renewable,
		mountType: w.MountType,
	}
	if t, err := http.ParseTime(header.Get("Date")); err == nil {
		a.date = t
	}
	return a, nil
}

// isJSON reports whether the answer says that it is JSON, as every one of Vault's does.
func isJSON(h http.Header) bool {
	kind, _, _ := strings.Cut(h.Get("Content-Type"), ";")
	return strings.TrimSpace(kind) == "application/json"
}

// withoutText drops what a JSON error may quote from the answer.
func withoutText(err error) error {
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &syntax):
		return fmt.Errorf("invalid JSON at byte %d", syntax.Offset)
	case errors.As(err, &kind):
		return fmt.Errorf("wrong JSON type at byte %d", kind.Offset)
	case strings.HasPrefix(err.Error(), "json:"):
		return errors.New("invalid JSON")
	}
	return err
}

// seconds reads a whole number of seconds; anything else counts as none.
func seconds(n any) time.Duration {
	var text string
	switch v := n.(type) {
	case json.Number:
		text = v.String()
	case string:
		text = v
	default:
		return 0
	}
	s, err := json.Number(text).Int64()
	if err != nil || s <= 0 {
		return 0
	}
	if s > int64(maxTTL/time.Second) {
		return maxTTL
	}
	return time.Duration(s) * time.Second
}

// kv2 reports whether data has the shape of a KV v2 read, and the version and deletion it tells of.
func kv2(data map[string]any) (version int, gone string, ok bool) {
	meta, _ := data["metadata"].(map[string]any)
	n, isNumber := meta["version"].(json.Number)
	if _, has := data["data"]; !has || len(data) != 2 || !isNumber {
		return 0, "", false
	}
	if _, has := meta["created_time"]; !has {
		return 0, "", false
	}
	v, err := n.Int64()
	if err != nil || v < 0 || v > 1<<31 {
		return 0, "", false
	}
	deleted, _ := meta["deletion_time"].(string)
	destroyed, _ := meta["destroyed"].(bool)
	switch {
	case data["data"] != nil:
	case destroyed:
		gone = fmt.Sprintf("version %d was destroyed", v)
	case deleted != "":
		gone = fmt.Sprintf("version %d was deleted at %s", v, deleted)
	}
	return int(v), gone, true
}

// toSecret makes the reader's view of a. A KV answer of a server too old to name the
// mount's type is known by its shape (v2) or by the mounts asked about (known).
func (a *answer) toSecret(req secret.Request, known int) *secret.Secret {
	s := &secret.Secret{
		Request: req, Data: a.data, Warnings: a.warnings,
		LeaseID: a.leaseID, LeaseTTL: a.ttl, Renewable: a.renewable && a.leaseID != "",
		ReadAt: time.Now(),
	}
	if unwrapping(req) { // its lease is whoever's who wrapped it
		s.LeaseID, s.LeaseTTL, s.Renewable = "", 0, false
	} else if req.Op != secret.Read {
		return s
	}
	if v, _, ok := kv2(a.data); ok && known != 1 && (a.mountType == "" || a.mountType == "kv" || unwrapping(req)) {
		s.KV, s.Version = 2, v
	} else if a.mountType == "kv" && known != 2 || known == 1 {
		s.KV = 1
	}
	return s
}

// unwrapping reports whether req opens a response-wrapped secret, which works once.
func unwrapping(req secret.Request) bool {
	return req.Op == secret.Write && req.Path == "sys/wrapping/unwrap"
}
