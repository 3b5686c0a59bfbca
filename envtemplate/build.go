package envtemplate

import (
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/envexec/envexec/secret"
)

// complete sets the defaults.
func (c *Config) complete() {
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	def := func(d *time.Duration, v time.Duration) {
		if *d == 0 {
			*d = v
		}
	}
	def(&c.settle, time.Second)
	def(&c.minBackoff, time.Second)
	def(&c.maxBackoff, 5*time.Minute)
	def(&c.poll, 30*time.Second)
	if c.RenewalThreshold <= 0 || c.RenewalThreshold > 1 {
		c.RenewalThreshold = 0.9
	}
	if c.now == nil {
		c.now = time.Now
	}
	if c.notify == nil {
		c.notify = newInotify
	}
	if c.jitter == nil {
		c.jitter = func(d time.Duration) time.Duration { return rand.N(d + 1) }
	}
}

// pause is the wait after the nth failure.
func (c *Config) pause(n int) time.Duration {
	wait := min(c.minBackoff<<min(max(n, 1)-1, 16), c.maxBackoff)
	return wait/2 + c.jitter(wait/2)
}

func (t Trace) render(name string, took time.Duration) {
	if t.OnRender != nil {
		t.OnRender(name, took)
	}
}

func (t Trace) problem(name string, err error) {
	if t.OnError != nil {
		t.OnError(name, err)
	}
}

func (t Trace) generation(g Generation) {
	if t.OnGeneration != nil {
		t.OnGeneration(g)
	}
}

// builder turns a Config into units.
type builder struct {
	cfg      *Config
	units    []*unit
	ciphers  []*Reference
	known    map[string]bool // functions the engine has
	problems []error
}

func (b *builder) build() ([]*unit, error) {
	if b.cfg.Source == nil {
		b.problem("renderer", errors.New("no source"))
	}
	for _, v := range b.cfg.Variables {
		b.variable(v)
	}
	for _, f := range b.cfg.From {
		b.from(f)
	}
	for _, f := range b.cfg.Files {
		b.file(f)
	}
	b.templates()
	if err := b.cfg.Transit.batch(b.ciphers); err != nil {
		b.problem("transit", err)
	}
	for _, u := range b.units {
		u.equip(u.work) // transit's requests are known only now
	}
	b.duplicates()
	return b.units, errors.Join(b.problems...)
}

func (b *builder) problem(name string, err error) {
	b.problems = append(b.problems, fmt.Errorf("%s: %w", name, err))
}

func (b *builder) add(u *unit) { b.units = append(b.units, u) }

// duplicates finds names that two units are known to set; the rest shows when secrets are there.
func (b *builder) duplicates() {
	seen := map[string]*unit{}
	for _, u := range b.units {
		for _, name := range u.names {
			if other := seen[name]; other != nil {
				b.problems = append(b.problems, conflict(name, other, u))
			}
			seen[name] = u
		}
	}
}

func (b *builder) variable(v Variable) {
	name := "variable " + v.Name
	if err := checkName(v.Name); err != nil {
		b.problem(name, err)
		return
	}
	refs, err := v.references()
	if err != nil {
		b.problem(name, err)
		return
	}
	engine := false
	for i := range refs.parts {
		ref := refs.parts[i].ref
		if ref == nil {
			continue
		}
		ref.Request.Refresh = v.Refresh
		if ref.cipher != "" {
			b.ciphers = append(b.ciphers, ref)
		}
		if ref.Template == "" {
			continue
		}
		if ref.text, err = b.keyTemplate(ref.Template); err != nil {
			b.problem(name, err)
			return
		}
		engine = true
	}
	d, err := b.cfg.Delivery.deliver(v.Delivery)
	if err != nil {
		b.problem(name, err)
		return
	}
	b.add(&unit{
		name: name, names: []string{name}, engine: engine,
		work: &variableWork{name: v.Name, parts: refs.parts, lenient: b.cfg.IgnoreMissing, delivery: d},
	})
}

// checkName refuses what no environment can carry.
func checkName(name string) error {
	if name == "" || strings.ContainsAny(name, "=\x00") {
		return fmt.Errorf("%q is not a name for a variable", name)
	}
	return nil
}

// references is what v is made of.
func (v Variable) references() (References, error) {
	if v.Text != "" {
		refs, err := ParseReferences(v.Text)
		if err == nil && v.Optional && len(refs.parts) == 1 && refs.parts[0].ref != nil {
			ref := refs.parts[0].ref
			if ref.Optional = true; !ref.HasDefault {
				ref.Default, ref.HasDefault = v.Default, v.HasDefault
			}
		}
		return refs, err
	}
	req, err := request(v.Path)
	if err != nil {
		return References{}, err
	}
	if v.Key == "" {
		return References{}, errEmptyKey
	}
	if v.Version != 0 {
		req.Version = v.Version
	}
	ref := &Reference{Request: req, Key: v.Key, Optional: v.Optional || v.HasDefault, Default: v.Default, HasDefault: v.HasDefault}
	return References{[]part{{ref: ref}}}, nil
}

func (b *builder) from(f From) {
	name := "all keys of " + f.Path
	req, err := request(f.Path)
	if err != nil {
		b.problem(name, err)
		return
	}
	if f.Version != 0 {
		req.Version = f.Version
	}
	req.Refresh = f.Refresh
	d, err := b.cfg.Delivery.deliver(f.Delivery)
	if err != nil {
		b.problem(name, err)
		return
	}
	b.add(&unit{name: name, work: &fromWork{from: f, req: req, delivery: d}})
}

func (b *builder) file(f File) {
	name := "file " + f.Destination
	if f.Destination == "" {
		b.problem("file", errors.New("no destination"))
		return
	}
	mode := f.Mode
	if mode == 0 {
		mode = 0o600
	}
	if f.Source != "" {
		b.template(Template{Source: f.Source, Destination: f.Destination, Perms: mode, User: f.User, Group: f.Group, Refresh: f.Refresh})
		return
	}
	out := RenderedFile{Path: f.Destination, Mode: mode, User: f.User, Group: f.Group, CreateDirs: true}
	req, err := request(f.Path)
	if err == nil && f.Key == "" {
		err = errEmptyKey
	}
	if err != nil {
		b.problem(name, err)
		return
	}
	if f.Version != 0 {
		req.Version = f.Version
	}
	req.Refresh = f.Refresh
	w := &fileWork{file: out, ref: Reference{Request: req, Key: f.Key, Optional: f.Optional}}
	switch f.Encoding {
	case "":
	case "base64":
		w.text = decodeBase64
	default:
		b.problem(name, fmt.Errorf("unknown encoding %q, only base64", f.Encoding))
	}
	b.add(&unit{name: name, names: []string{name}, work: w})
}

func decodeBase64(s string) (string, error) {
	plain, err := base64.StdEncoding.DecodeString(strings.TrimSpace(s))
	if err != nil {
		return "", errors.New("value is not base64")
	}
	return string(plain), nil
}

func requestsOf(parts []part) []secret.Request {
	var reqs []secret.Request
	for _, p := range parts {
		if p.ref != nil {
			reqs = append(reqs, p.ref.Request)
		}
	}
	return reqs
}
