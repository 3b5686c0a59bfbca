package envtemplate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/secret"
)

// unit is one thing the user wrote, and what became of it. Only the loop touches
// what is below the line.
type unit struct {
	name     string           // in messages: "variable DB_PASSWORD", "template app.tpl"
	names    []string         // what it is known to set
	requests []secret.Request // known before it runs, asked together with all others'
	engine   bool             // runs in a goroutine of its own and may find more secrets
	patient  bool             // its problems never end Run
	quiet    time.Duration    // it runs when what it reads has rested so long,
	quietMax time.Duration    // but waits no longer than this
	work     worker

	keys      []secret.Key // of requests
	phase     phase
	missing   int              // of requests, while waiting
	dirty     bool             // something it reads changed while it ran
	uses      []*read          // what its requests, its last run and its last good one read
	includes  map[string]stamp // files the last run read
	latest    *result          // newest good one; nil = none yet
	adopted   *result          // the one in the last Generation
	chosen    *result          // for the next one
	err       error            // of the last run
	fails     int
	retryAt   time.Time // zero = not planned
	changedAt time.Time // when the change it rests after came; zero = none
}

// equip gives u its work and what is known of it.
func (u *unit) equip(w worker) {
	u.work, u.requests, u.keys = w, nil, nil
	for _, req := range w.requests() { // one may be named more than once, but its answer comes once
		if key := req.Key(); !slices.Contains(u.keys, key) {
			u.requests, u.keys = append(u.requests, req), append(u.keys, key)
		}
	}
}

type phase uint8

const (
	resting phase = iota
	waiting       // for requests
	running
)

// worker makes a unit's output of secrets.
type worker interface {
	requests() []secret.Request // known without running
	run(ctx context.Context, get getter) (output, error)
}

// getter returns a secret, waiting for it if it is new to the Renderer.
type getter func(secret.Request) (*secret.Secret, error)

// output is what a unit contributes to a Generation.
type output struct {
	vars     map[string]string
	files    []RenderedFile
	warnings []string
	includes map[string]stamp // files read, as they were
}

// result is an output with the secrets it was made of.
type result struct {
	output
	made []*read
}

// needs collects what the adopted results depend on: leases, the first end of a
// certificate, the oldest login. It looks at every secret with every change, so it
// does nothing for those that depend on nothing.
func (l *loop) needs() (leases []string, notAfter time.Time, epoch uint64) {
	for _, u := range l.units {
		for _, rd := range u.adopted.made {
			if rd.sec == nil {
				continue
			}
			if rd.sec.LeaseID != "" {
				leases = append(leases, rd.sec.LeaseID)
			}
			if at := certificateEnd(rd.sec); !at.IsZero() && (notAfter.IsZero() || at.Before(notAfter)) {
				notAfter = at
			}
			if e := rd.sec.Epoch; e != 0 && (epoch == 0 || e < epoch) {
				epoch = e
			}
		}
	}
	slices.Sort(leases)
	return slices.Compact(leases), notAfter, epoch
}

// certificateEnd is when the certificate s holds ends, if a write made it.
func certificateEnd(s *secret.Secret) (end time.Time) {
	if s.Request.Op != secret.Write {
		return end
	}
	text, _ := s.Data["certificate"].(string)
	if _, own, err := parsePEM([]byte(text)); err == nil && own != nil {
		end = own.NotAfter
	}
	return end
}

// fetchKey returns the text of ref, and whether there is one.
func fetchKey(ref Reference, get getter) (string, bool, error) {
	read := strictKey
	switch {
	case ref.cipher != "":
		read = decrypted
	case ref.text != nil:
		read = templated
	}
	text, there, err := read(ref, get)
	switch {
	case err == nil && there:
		return text, true, nil
	case err == nil && ref.Optional, errors.Is(err, secret.ErrMissing) && ref.Optional:
		return ref.Default, ref.HasDefault, nil
	case err == nil:
		return "", false, fmt.Errorf("%s: key %q is null: %w", ref.Request, ref.Key, secret.ErrMissing)
	}
	return "", false, err
}

// templated is what the template in the key's place makes of the secret.
func templated(ref Reference, get getter) (string, bool, error) {
	s, err := get(ref.Request)
	if err != nil {
		return "", false, err
	}
	e := &execution{ctx: context.Background(), work: ref.text, get: get, used: []*secret.Secret{s}, values: clone(s.Values())}
	text, err := e.engine(ref.text.src.text)
	if err != nil {
		return "", false, e.explain(err)
	}
	return text, true, nil
}

func strictKey(ref Reference, get getter) (string, bool, error) {
	s, err := get(ref.Request)
	if err != nil {
		return "", false, err
	}
	v, ok := s.Values()[ref.Key]
	if !ok {
		return "", false, missingKey(s, ref.Key)
	}
	text, there, err := valueText(v)
	if err != nil {
		return "", false, fmt.Errorf("%s: key %q: %w", ref.Request, ref.Key, err)
	}
	return text, there, nil
}

// variableWork is a variable made of references and text.
type variableWork struct {
	name     string
	parts    []part
	lenient  bool // IgnoreMissing
	delivery *delivery
}

func (w *variableWork) requests() []secret.Request { return requestsOf(w.parts) }

func (w *variableWork) run(_ context.Context, get getter) (output, error) {
	var out output
	var b strings.Builder
	there := false
	for _, p := range w.parts {
		if p.ref == nil {
			b.WriteString(p.literal)
			there = true
			continue
		}
		text, ok, err := fetchKey(*p.ref, get)
		if err != nil && w.lenient && errors.Is(err, secret.ErrMissing) {
			out.warnings = append(out.warnings, "empty value: "+err.Error())
			text, ok, err = "", true, nil
		}
		if err != nil {
			return output{}, err
		}
		b.WriteString(text)
		there = there || ok
	}
	if !there {
		return out, nil
	}
	w.delivery.put(&out, w.name, b.String())
	return out, nil
}

// fromWork is all keys of one secret.
type fromWork struct {
	from     From
	req      secret.Request
	delivery *delivery
}

func (w *fromWork) requests() []secret.Request { return []secret.Request{w.req} }

func (w *fromWork) run(_ context.Context, get getter) (output, error) {
	s, err := get(w.req)
	if err != nil {
		if w.from.Optional && errors.Is(err, secret.ErrMissing) {
			return output{}, nil
		}
		return output{}, err
	}
	keys := s.Keys()
	if len(w.from.Keys) > 0 {
		keys = w.from.Keys
	}
	var out output
	by := map[string]string{}
	for _, key := range keys {
		v, ok := s.Values()[key]
		if !ok {
			return output{}, missingKey(s, key)
		}
		text, there, err := valueText(v)
		if err != nil {
			return output{}, fmt.Errorf("%s: key %q: %w", w.req, key, err)
		}
		name := w.name(key)
		if other, taken := by[name]; taken {
			return output{}, fmt.Errorf("%s: keys %q and %q both become variable %s", w.req, other, key, name)
		}
		by[name] = key
		switch {
		case name == "":
			return output{}, fmt.Errorf("%s: an empty key makes no variable", w.req)
		case !there: // null is no value
		case environ.Dangerous(name):
			out.warnings = append(out.warnings, fmt.Sprintf("key %q left out: %s is only set when named by itself", key, name))
		default:
			w.delivery.put(&out, name, text)
		}
	}
	return out, nil
}

// name is the variable of key.
func (w *fromWork) name(key string) string {
	name := environ.Identifier(w.from.Prefix + key)
	if w.from.Upcase {
		name = strings.ToUpper(name)
	}
	return name
}

// fileWork is a file with one key's value.
type fileWork struct {
	file RenderedFile // without contents
	ref  Reference
	text func(string) (string, error) // decodes the value; nil = as it is
}

func (w *fileWork) requests() []secret.Request { return []secret.Request{w.ref.Request} }

func (w *fileWork) run(_ context.Context, get getter) (output, error) {
	text, there, err := fetchKey(w.ref, get)
	if err != nil || !there {
		return output{}, err
	}
	if w.text != nil {
		if text, err = w.text(text); err != nil {
			return output{}, fmt.Errorf("%s: key %q: %w", w.ref.Request, w.ref.Key, err)
		}
	}
	f := w.file
	f.Contents = secret.NewText(text)
	return output{files: []RenderedFile{f}}, nil
}
