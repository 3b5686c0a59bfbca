package envtemplate

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	engine "github.com/hashicorp/consul-template/template"

	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/secret"
)

// templateWork is a template and where its text goes: a variable or a file.
type templateWork struct {
	cfg      *Config
	src      *source
	text     text   // where src comes from
	stamp    stamp  // of text.source when it was read
	variable string // or
	file     RenderedFile
	delivery *delivery
	lenient  bool // a missing key is empty text
	refresh  time.Duration
	sandbox  string
	denylist []string
}

// Functions of the engine that are refused: servers we do not talk to, programs only
// supervise may start, and the standard output that belongs to the program.
var (
	consulFuncs = []string{
		"datacenters", "exportedServices", "key", "keyExists", "keyOrDefault", "ls", "safeLs", "node", "nodes", "partitions",
		"peerings", "service", "connect", "services", "tree", "safeTree", "caRoots", "caLeaf",
	}
	nomadFuncs = []string{
		"nomadServices", "nomadService", "nomadVarList", "nomadVarListSafe", "nomadVar", "nomadVarExists",
	}
	printingFuncs = []string{"spew_dump", "spew_printf"}
)

// whyRefused says why a function is not to be had, "" if it is.
func whyRefused(name string) string {
	switch {
	case slices.Contains(consulFuncs, name):
		return "Consul is not supported"
	case slices.Contains(nomadFuncs, name):
		return "Nomad is not supported"
	case slices.Contains(printingFuncs, name):
		return "it writes to standard output"
	case name == "plugin":
		return "templates start no programs"
	}
	return ""
}

// check finds the functions src may not call. Under Config.Lenient those are warnings.
func (w *templateWork) check() error {
	var problems []error
	for name, line := range w.src.calls {
		why := whyRefused(name)
		soft := why != "" && w.cfg.Lenient
		if why == "" && environ.Matches(name, w.denylist...) {
			why = "it is on the function_denylist"
		}
		if why == "" && name == "writeToFile" && w.sandbox == "" {
			why = "it needs a sandbox_path to write below"
		}
		switch {
		case soft:
			w.cfg.Logger.Warn("template calls a refused function", "template", w.src.name, "line", line, "function", name, "reason", why)
		case why != "":
			problems = append(problems, fmt.Errorf("line %d: function %s: %s", line, name, why))
		}
	}
	slices.SortFunc(problems, func(a, b error) int { return strings.Compare(a.Error(), b.Error()) })
	return errors.Join(problems...)
}

// compile lets the engine parse the text, which finds unknown functions.
func (w *templateWork) compile() error {
	stop := w.src.left + stopFunc + w.src.right
	e := &execution{ctx: context.Background(), work: w}
	_, err := e.engine(stop + w.src.text)
	if err != nil && !strings.Contains(err.Error(), errStop.Error()) {
		return errors.New(strings.TrimPrefix(strings.TrimPrefix(err.Error(), "parse: "), "template: :"))
	}
	return nil
}

func (w *templateWork) requests() []secret.Request {
	reqs := slices.Clone(w.src.requests)
	for i := range reqs {
		reqs[i].Refresh = w.refresh
	}
	return reqs
}

func (w *templateWork) run(ctx context.Context, get getter) (output, error) {
	e := &execution{ctx: ctx, work: w, get: get}
	var text string
	var done bool
	if w.src.plain != nil {
		text, done = w.src.plain.text(w, get)
	}
	if !done && w.src.text != "" {
		var err error
		if text, err = e.engine(w.src.text); err != nil {
			return output{includes: e.includes}, e.explain(err)
		}
	}
	out := output{warnings: e.warnings, files: e.files, includes: e.includes}
	if w.variable != "" {
		w.delivery.put(&out, w.variable, text)
		return out, nil
	}
	f := w.file
	f.Contents = secret.NewText(text)
	out.files = append(out.files, f)
	return out, nil
}

// engine runs text through consul-template once.
func (e *execution) engine(text string) (string, error) {
	t, err := engine.NewTemplate(&engine.NewTemplateInput{
		Contents: text, LeftDelim: e.work.src.left, RightDelim: e.work.src.right,
		ErrMissingKey: !e.work.lenient, ExtFuncMap: e.funcs(), Destination: e.work.file.Path,
	})
	if err != nil {
		return "", err
	}
	result, err := t.Execute(&engine.ExecuteInput{Brain: engine.NewBrain()})
	if err != nil {
		return "", err
	}
	return string(result.Output), nil
}

// templates adds the units of template and env_template stanzas.
func (b *builder) templates() {
	for _, t := range b.cfg.Templates {
		b.template(t)
	}
	for _, t := range b.cfg.EnvTemplates {
		name := "variable " + t.Name
		d, err := b.cfg.Delivery.deliver(t.Delivery)
		if err = errors.Join(err, checkName(t.Name)); err != nil {
			b.problem(name, err)
			continue
		}
		w := &templateWork{variable: t.Name, delivery: d, lenient: t.AllowMissingKey, refresh: t.Refresh}
		b.engineUnit(name, w, text{t.Source, t.Contents, t.LeftDelim, t.RightDelim}, t.FunctionDenylist, t.KeepOnError)
	}
}

func (b *builder) template(t Template) {
	name := "file " + t.Destination
	if t.Destination == "" {
		b.problem("template", errors.New("no destination"))
		return
	}
	if c := t.Command; c != nil {
		switch {
		case b.cfg.RunCommand == nil:
			b.problem(name, errors.New("nothing runs its command here"))
		case len(c.Args) == 0:
			b.problem(name, errors.New("empty command"))
		case c.Timeout == 0:
			withTimeout := *c
			withTimeout.Timeout = 30 * time.Second
			t.Command = &withTimeout
		}
	}
	w := &templateWork{
		file: RenderedFile{
			Path: t.Destination, Mode: t.Perms, User: t.User, Group: t.Group,
			Backup: t.Backup, CreateDirs: !t.NoCreateDirs, Command: t.Command,
		},
		lenient: t.AllowMissingKey, refresh: t.Refresh, sandbox: t.SandboxPath,
	}
	u := b.engineUnit(name, w, text{t.Source, t.Contents, t.LeftDelim, t.RightDelim}, t.FunctionDenylist, t.KeepOnError)
	if u != nil && t.WaitMin > 0 {
		if u.quiet, u.quietMax = t.WaitMin, t.WaitMax; u.quietMax == 0 {
			u.quietMax = 4 * t.WaitMin
		}
	}
}

// text is where a template's text is.
type text struct{ source, contents, left, right string }

func (b *builder) engineUnit(name string, w *templateWork, t text, denylist []string, patient bool) *unit {
	w.cfg, w.denylist = b.cfg, denylist
	w.text, w.stamp = t, stampOf(t.source)
	src, err := t.load()
	if err == nil {
		err = b.prepare(w, src)
	}
	if err != nil {
		b.problem(name, err)
		return nil
	}
	u := &unit{name: name, names: []string{name}, work: w, engine: true, patient: patient}
	b.add(u)
	return u
}

// keyTemplate compiles the template in a reference's key: the secret's keys are its dot.
func (b *builder) keyTemplate(text string) (*templateWork, error) {
	const key = "envexec_key"
	src, err := newSource("reference", `${define "`+key+`"}`+text+`${end}${template "`+key+`" `+valuesFunc+`}`, "${", "}")
	if err != nil {
		return nil, errUnreadable // the parser's message may quote what only looks like a reference
	}
	w := &templateWork{cfg: b.cfg}
	return w, b.prepare(w, src)
}

// prepare checks src and makes it w's.
func (b *builder) prepare(w *templateWork, src *source) error {
	w.src = src
	if err := w.check(); err != nil {
		return err
	}
	if src.text == "" || src.plain != nil || b.knows(src.calls) {
		return nil
	}
	if err := w.compile(); err != nil {
		return err
	}
	for f := range src.calls {
		b.known[f] = true
	}
	return nil
}

// knows reports whether the engine has all these functions: it was asked before.
func (b *builder) knows(calls map[string]int) bool {
	for f := range calls {
		if !b.known[f] {
			return false
		}
	}
	return true
}

// load reads and parses the template.
func (t text) load() (*source, error) {
	name, contents := "contents", t.contents
	switch {
	case t.source != "" && t.contents != "":
		return nil, errors.New("template has both source and contents")
	case t.source == "" && t.contents == "":
		return nil, errors.New("template has neither source nor contents")
	case t.source != "":
		raw, err := os.ReadFile(t.source)
		if err != nil {
			return nil, fmt.Errorf("read template: %w", err)
		}
		name, contents = t.source, string(raw)
	}
	return newSource(name, contents, t.left, t.right)
}
