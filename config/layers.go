package config

import (
	"errors"
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/envexec/envexec/environ"
)

// layers puts variables and flags over what the files said.
type layers struct {
	report  *report
	origins map[any]string
	env     environ.Environ
	files   map[string]string // variables that came from an env file: its place
	overlay func(source string, texts []string)
}

// apply puts variables over the files and flags over both. --set comes first of each: an
// option that is made for a key says it more plainly.
func (l layers) apply(opts []option, line commandLine) {
	for _, o := range opts {
		if source, texts, ok := l.variable(o); ok {
			l.set(o, source, texts)
		}
	}
	for _, o := range opts {
		if texts := line.flags[o.name]; len(texts) > 0 {
			l.set(o, "--"+o.name, texts)
		}
	}
}

// variable finds the first of an option's variables that is set and not empty.
func (l layers) variable(o option) (source string, texts []string, ok bool) {
	for _, name := range append([]string{o.variable()}, o.env...) {
		if name == "" {
			continue
		}
		text, set := l.env.Get(name)
		if !set || text == "" {
			continue
		}
		source = name
		if at, ok := l.files[name]; ok {
			source = name + " in " + at
		}
		if !o.repeats() {
			return source, []string{text}, true
		}
		if o.lines {
			return source, splitLines(text), true
		}
		return source, splitList(text), true
	}
	return "", nil, false
}

func splitLines(s string) []string {
	var list []string
	for line := range strings.SplitSeq(s, "\n") {
		if line = strings.TrimSpace(line); line != "" {
			list = append(list, line)
		}
	}
	return list
}

// set gives one option its value or values from one source; a list replaces the list
// of a lower layer, a declaration is added to those already there.
func (l layers) set(o option, source string, texts []string) {
	if o.name == "set" {
		l.overlay(source, texts)
		return
	}
	fail := func(err error) { l.report.failSource(source, err.Error(), "") }
	if o.add != nil {
		for _, t := range texts {
			parts := []string{t}
			if o.comma {
				parts = splitList(t)
			}
			for _, p := range parts {
				if err := o.add(p); err != nil {
					fail(err)
				} else if list, ok := o.to.(*[]string); ok {
					*list = append(*list, p)
				}
			}
		}
		if o.to != nil {
			l.origins[o.to] = source
		}
		return
	}
	switch to := o.to.(type) {
	case *[]string:
		*to = nil
		for _, t := range texts {
			if o.name == "config" || o.name == "env-file" {
				*to = append(*to, t)
			} else {
				*to = append(*to, splitList(t)...)
			}
		}
	case *map[string]string:
		*to = nil
		for _, t := range texts {
			if err := assign(to, t); err != nil {
				fail(err)
			}
		}
	default:
		text := texts[len(texts)-1]
		if err := assign(o.to, text); err != nil {
			fail(err)
			return
		}
		if span, ok := o.to.(*time.Duration); ok && *span < 0 {
			fail(errors.New("must not be negative"))
			return
		}
		if o.check != nil {
			if err := o.check(text); err != nil {
				fail(err)
				return
			}
		}
	}
	l.origins[o.to] = source
}

// unknownVariables warns of ENVEXEC_… names that are none of ours.
func (l layers) unknownVariables(opts []option) {
	known := map[string]bool{"ENVEXEC_GENERATION": true}
	for _, o := range opts {
		known[o.variable()] = true
	}
	for name := range l.env.All() {
		if strings.HasPrefix(name, "ENVEXEC_") && !known[name] && !strings.HasPrefix(name, "ENVEXEC_TEST_") {
			l.report.warnings = append(l.report.warnings, Problem{Source: name, Message: "unknown variable",
				Hint: didYouMean(name, slices.Collect(maps.Keys(known)))})
		}
	}
}

// settings lists every effective value with its origin.
func settings(c *Config, opts []option, origins map[any]string) []Setting {
	flags := map[any]option{}
	for _, o := range opts {
		if o.to != nil {
			flags[o.to] = o
		}
	}
	fresh := map[string]string{}
	walkKeys(root(defaults()), "", func(path string, k key) { fresh[path] = shownDefault(k) })
	var all []Setting
	seen := map[any]bool{}
	walkKeys(root(c), "", func(path string, k key) {
		s := Setting{Key: path, Value: shown(k.to), Origin: origins[k.to], Default: fresh[path]}
		if o, ok := flags[k.to]; ok {
			s.Flag, s.Env = "--"+o.name, variables(o)
		} else {
			s.Flag, s.Env = "--set "+path+"=", []string{"ENVEXEC_SET"}
		}
		if s.Origin == "" {
			s.Origin = "default"
		}
		if seen[k.to] {
			return
		}
		seen[k.to] = true
		all = append(all, s)
	})
	for _, o := range opts {
		if o.to == nil || seen[o.to] || o.noEnv {
			continue
		}
		s := Setting{Key: o.name, Value: shown(o.to), Origin: origins[o.to], Flag: "--" + o.name, Env: variables(o)}
		if s.Origin == "" {
			s.Origin = "default"
		}
		if strings.Contains(o.name, "bytes") {
			s.Value = fmt.Sprintf("%d bytes", len(s.Value))
		}
		all = append(all, s)
	}
	return all
}

func variables(o option) []string {
	if o.noEnv {
		return o.env
	}
	return append([]string{o.variable()}, o.env...)
}

// walkKeys visits every key of the blocks that may stand only once, without opening
// (and so resetting) anything.
func walkKeys(s stanza, path string, visit func(path string, k key)) {
	for _, k := range s.keys {
		if k.why == "" && k.to != nil {
			visit(strings.TrimPrefix(path+"."+k.name, "."), k)
		}
	}
	for _, b := range s.blocks {
		if b.why == "" && !b.many {
			walkKeys(b.open(), path+"."+b.name, visit)
		}
	}
}

// shown is a value for people: format without the password of an address.
func shown(from any) string {
	text := format(from)
	if u, err := url.Parse(text); err == nil && u.User != nil {
		return u.Redacted()
	}
	return text
}

func shownDefault(k key) string {
	if k.def != "" {
		return k.def
	}
	return format(k.to)
}
