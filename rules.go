package main

import (
	"strings"
	"syscall"

	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/signals"
	"github.com/envexec/envexec/supervise"
)

// changeRules says what a change of each secret does to the program, where that
// differs from the program's own policy.
type changeRules struct {
	program  supervise.Policy
	byName   map[string]changeRule // variables by name, files by path
	known    map[string]bool       // everything named, with or without a rule
	byPrefix []prefixRule          // --from: its variables are known only when it is read
}

type changeRule struct {
	policy supervise.Policy
	signal syscall.Signal
	hook   []string
}

type prefixRule struct {
	prefix string
	changeRule
}

func newChangeRules(p *parsing, c *config.Config, references []string) changeRules {
	r := changeRules{byName: map[string]changeRule{}, known: map[string]bool{}, program: parse(p, "on_change", c.Change.Policy, supervise.ParsePolicy)}
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
	rule := changeRule{policy: parse(p, "on_change", c.Policy, supervise.ParsePolicy), hook: c.Hook}
	if c.Signal != "" {
		rule.signal = parse(p, "change signal", c.Signal, signals.Parse)
	}
	return rule
}

// strongest is what a change of all these names asks for: the strongest of their
// rules, the program's own where one has none.
func (r changeRules) strongest(names []string) changeRule {
	var best changeRule
	for _, name := range names {
		if rule := r.of(name); rule.policy > best.policy {
			best = rule
		}
	}
	return best
}

func (r changeRules) of(name string) changeRule {
	if rule, ok := r.byName[name]; ok {
		return rule
	}
	if r.known[name] {
		return changeRule{policy: r.program}
	}
	for _, rule := range r.byPrefix {
		if strings.HasPrefix(name, rule.prefix) {
			return rule.changeRule
		}
	}
	return changeRule{policy: r.program}
}
