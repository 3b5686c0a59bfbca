package main

import (
	"slices"
	"strings"
	"syscall"

	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/signals"
	"github.com/envexec/envexec/supervise"
)

// changeRules says what a change of each secret does to the program, where that
// differs from the program's own policy.
type changeRules struct {
	program  changeRule            // for all that has no rule of its own
	byName   map[string]changeRule // variables by name, files by path
	known    map[string]bool       // everything named, with or without a rule
	byPrefix []prefixRule          // --from: its variables are known only when it is read
}

type changeRule struct {
	policy  supervise.Policy
	signals []syscall.Signal // for signal; empty = the program's own
	hooks   [][]string       // for hook, likewise
}

type prefixRule struct {
	prefix string
	changeRule
}

func newChangeRules(p *parsing, c *config.Config, references []string) changeRules {
	r := changeRules{byName: map[string]changeRule{}, known: map[string]bool{}, program: changeRule{
		policy:  parse(p, "on_change", c.Change.Policy, supervise.ParsePolicy),
		signals: []syscall.Signal{parse(p, "change signal", c.Change.Signal, signals.Parse)},
	}}
	if len(c.Change.Hook) > 0 {
		r.program.hooks = [][]string{c.Change.Hook}
	}
	for _, name := range references {
		r.known[name] = true
	}
	named := func(name string, rule config.ChangeRule) {
		r.known[name] = true
		if rule.Policy != "" {
			r.byName[name] = newChangeRule(p, rule)
		}
	}
	for _, v := range c.Secrets.Variables {
		named(v.Name, v.OnChange)
	}
	for _, t := range c.Secrets.EnvTemplates {
		named(t.Name, t.OnChange)
	}
	for _, f := range c.Secrets.RenderFiles {
		named(f.Destination, f.OnChange)
	}
	for _, t := range c.Secrets.Templates {
		named(t.Destination, t.OnChange)
	}
	for _, n := range c.Secrets.Named {
		named(n.Name, n.OnChange)
	}
	for _, f := range c.Secrets.From {
		if f.OnChange.Policy != "" {
			r.byPrefix = append(r.byPrefix, prefixRule{f.Prefix, newChangeRule(p, f.OnChange)})
		}
	}
	return r
}

func newChangeRule(p *parsing, c config.ChangeRule) changeRule {
	rule := changeRule{policy: parse(p, "on_change", c.Policy, supervise.ParsePolicy)}
	if rule.policy == supervise.Signal && c.Signal != "" {
		rule.signals = []syscall.Signal{parse(p, "change signal", c.Signal, signals.Parse)}
	}
	if rule.policy == supervise.Hook && len(c.Hook) > 0 {
		rule.hooks = [][]string{c.Hook}
	}
	return rule
}

// of is what a change of all these names asks for: the strongest of their policies,
// and every signal and hook that one of them wants.
func (r changeRules) of(names []string) changeRule {
	var all changeRule
	for _, name := range names {
		rule := r.named(name)
		all.policy = max(all.policy, rule.policy)
		switch rule.policy {
		case supervise.Signal:
			all.signals = append(all.signals, orThese(rule.signals, r.program.signals)...)
		case supervise.Hook:
			all.hooks = append(all.hooks, orThese(rule.hooks, r.program.hooks)...)
		}
	}
	slices.Sort(all.signals)
	all.signals = slices.Compact(all.signals)
	slices.SortStableFunc(all.hooks, slices.Compare)
	all.hooks = slices.CompactFunc(all.hooks, slices.Equal)
	return all
}

func orThese[T any](own, others []T) []T {
	if len(own) > 0 {
		return own
	}
	return others
}

func (r changeRules) named(name string) changeRule {
	if rule, ok := r.byName[name]; ok {
		return rule
	}
	if r.known[name] {
		return r.program
	}
	for _, rule := range r.byPrefix {
		if strings.HasPrefix(name, rule.prefix) {
			return rule.changeRule
		}
	}
	return r.program
}
