package envtemplate

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"text/template"
	"time"

	"github.com/hashicorp/consul-template/dependency"

	"github.com/envexec/envexec/secret"
)

// execution is one run of a template: the functions it calls and what they did.
type execution struct {
	ctx  context.Context // ends loops; nil where nothing runs
	work *templateWork
	get  getter

	used     []*secret.Secret
	values   any                               // the dot of a reference's template
	given    map[secret.Key]*dependency.Secret // the copies this run may change
	failed   error                             // of one of our functions, with its chain
	files    []RenderedFile                    // writeToFile
	includes map[string]stamp
	warnings []string
}

// valuesFunc is the secret's keys in a reference's template.
const valuesFunc = "envexec_values"

// stopFunc ends an execution at once: only the text's syntax was of interest.
const stopFunc = "envexec_stop"

var errStop = errors.New("envexec stops here")

// funcs are the engine's functions that are ours.
func (e *execution) funcs() template.FuncMap {
	m := template.FuncMap{
		stopFunc:       func() (string, error) { return "", errStop },
		printFunc:      e.print,
		valuesFunc:     func() any { return e.values },
		"secret":       e.secret,
		"secrets":      e.secrets,
		"pkiCert":      e.pkiCert,
		"file":         e.file,
		"writeToFile":  e.writeToFile,
		"env":          e.env,
		"loop":         e.count,
		"mustEnv":      e.mustEnv,
		"envOrDefault": e.envOrDefault,
	}
	for _, name := range slices.Concat(consulFuncs, nomadFuncs, printingFuncs, []string{"plugin"}) {
		m[name] = func(...any) (string, error) {
			return "", e.fail(fmt.Errorf("function %s: %s", name, whyRefused(name)))
		}
	}
	return m
}

// fail remembers err: the engine passes on its text only.
func (e *execution) fail(err error) error {
	if e.failed == nil {
		e.failed = err
	}
	return err
}

// print is the end of every printing action.
func (e *execution) print(action int, v any) (any, error) {
	if v != nil {
		return v, nil
	}
	what := ""
	if action < len(e.work.src.prints) {
		what = e.work.src.prints[action]
	}
	if !e.work.lenient {
		return nil, e.fail(fmt.Errorf("%s is missing or null: %w", what, secret.ErrMissing))
	}
	e.warnings = append(e.warnings, fmt.Sprintf("%s: %s is missing or null", e.work.src.name, what))
	return "", nil
}

// secret is {{ secret "path" }}, or with fields a write.
func (e *execution) secret(args ...string) (any, error) {
	if len(args) == 0 {
		return nil, nil
	}
	req, err := templateRequest(args[0])
	if len(args) > 1 {
		req, err = writeRequest(args)
	}
	if err != nil {
		return nil, e.fail(err)
	}
	return e.fetch(req)
}

// fetch returns a copy of the secret: templates may change maps.
func (e *execution) fetch(req secret.Request) (*dependency.Secret, error) {
	key := req.Key()
	if s := e.given[key]; s != nil {
		return s, nil
	}
	s, err := e.read(req)
	if err != nil {
		return nil, err
	}
	data, _ := clone(s.Data).(map[string]any)
	d := &dependency.Secret{
		LeaseID: s.LeaseID, LeaseDuration: int(s.LeaseTTL / time.Second), Renewable: s.Renewable,
		Data: data, Warnings: slices.Clone(s.Warnings),
	}
	if e.given == nil {
		e.given = map[secret.Key]*dependency.Secret{}
	}
	e.given[key] = d
	return d, nil
}

func (e *execution) read(req secret.Request) (*secret.Secret, error) {
	req.Refresh = e.work.refresh
	s, err := e.get(req)
	if err != nil {
		return nil, e.fail(err)
	}
	if !slices.Contains(e.used, s) {
		e.used = append(e.used, s)
	}
	return s, nil
}

// secrets is {{ secrets "path" }}: the names below it, none if there are none.
func (e *execution) secrets(path string) ([]string, error) {
	if path == "" {
		return nil, nil
	}
	req, err := templateRequest(path)
	if err != nil {
		return nil, e.fail(err)
	}
	req.Op, req.Refresh = secret.List, e.work.refresh
	s, err := e.get(req)
	if errors.Is(err, secret.ErrMissing) {
		return nil, nil
	}
	if err != nil {
		return nil, e.fail(err)
	}
	list, _ := s.Data["keys"].([]any)
	names := make([]string, 0, len(list))
	for _, item := range list {
		if name, ok := item.(string); ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, nil
}

func (e *execution) env(name string) (string, error) {
	v, _ := e.work.cfg.Env.Get(name)
	return v, nil
}

func (e *execution) mustEnv(name string) (string, error) {
	v, _ := e.work.cfg.Env.Get(name)
	if v == "" {
		return "", e.fail(fmt.Errorf("variable %s is not set, the template needs it", name))
	}
	return v, nil
}

func (e *execution) envOrDefault(name, def string) (string, error) {
	if v, ok := e.work.cfg.Env.Get(name); ok {
		return v, nil
	}
	return def, nil
}

// count is loop: it counts from 0 or start up to end, without it. The engine's own leaves a
// goroutine behind when the template breaks out of it. It ends with envexec, however long it is.
func (e *execution) count(bounds ...any) (iter.Seq[int64], error) {
	if len(bounds) == 0 || len(bounds) > 2 {
		return nil, fmt.Errorf("loop: wants 1 or 2 numbers, not %d", len(bounds))
	}
	ends := make([]int64, 2)
	for i, b := range bounds {
		text := fmt.Sprint(b)
		n, err := strconv.ParseInt(text, 10, 64)
		if err != nil && text != "" {
			return nil, errors.New("loop: wants whole numbers")
		}
		ends[i+2-len(bounds)] = n
	}
	return func(yield func(int64) bool) {
		for i := ends[0]; i < ends[1] && e.ctx.Err() == nil && yield(i); i++ {
		}
	}, nil
}

// templateRequest reads a path as consul-template does: with a query, percent signs plain.
func templateRequest(path string) (secret.Request, error) {
	return request(strings.ReplaceAll(path, `\`, `\\`))
}

// writeRequest is the write of a path and k=v arguments.
func writeRequest(args []string) (secret.Request, error) {
	req, err := templateRequest(args[0])
	if err != nil {
		return req, err
	}
	req.Op = secret.Write
	if req.Body, err = fields(args[1:]); err != nil {
		return req, fmt.Errorf("%s: %w", req, err)
	}
	return req, nil
}

// fields reads the k=v arguments of a write. The error quotes no value.
func fields(args []string) (map[string]any, error) {
	body := map[string]any{}
	for i, arg := range args {
		if arg == "" {
			continue
		}
		k, v, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, fmt.Errorf("field %d is not k=v", i+1)
		}
		body[strings.TrimSpace(k)] = strings.TrimSpace(v)
	}
	return body, nil
}

// clone copies what JSON can hold.
func clone(v any) any {
	switch v := v.(type) {
	case map[string]any:
		c := maps.Clone(v)
		for k, item := range c {
			c[k] = clone(item)
		}
		return c
	case []any:
		c := slices.Clone(v)
		for i, item := range c {
			c[i] = clone(item)
		}
		return c
	}
	return v
}
