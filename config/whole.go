package config

import (
	"cmp"
	"fmt"
	"slices"
)

// claim is one source's wish to own a name.
type claim struct {
	what, name, by string
	pos            Position
}

// checkNames: two of our own sources must not name one variable, file or socket.
func checkNames(d *decoder, c *Config) {
	var claims []claim
	for _, v := range c.Secrets.Variables {
		claims = append(claims, claim{"variable", v.Name, "--env", v.Pos})
	}
	for _, t := range c.Secrets.EnvTemplates {
		claims = append(claims, claim{"variable", t.Name, "env_template", t.Pos})
	}
	for _, f := range c.Secrets.RenderFiles {
		claims = append(claims, claim{"file", f.Destination, "--file", f.Pos})
	}
	for _, t := range c.Secrets.Templates {
		claims = append(claims, claim{"file", t.Destination, "template", t.Pos})
	}
	for _, s := range c.Sockets {
		claims = append(claims, claim{"socket", s.Name, "--listen", s.Pos})
	}
	slices.SortStableFunc(claims, func(a, b claim) int { return comparePositions(a.pos, b.pos) })
	taken := map[[2]string]string{}
	for _, k := range claims {
		id := [2]string{k.what, k.name}
		first, dup := taken[id]
		switch {
		case k.name == "":
		case dup:
			d.doubtProblem(Problem{Pos: k.pos, Source: k.by, Message: fmt.Sprintf("%s %s is already set by %s", k.what, k.name, first)})
		default:
			taken[id] = cmp.Or(k.pos.String(), k.by)
		}
	}
}

func comparePositions(a, b Position) int {
	return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
}

// proves reports whether a way to be ready proves which generation answers.
func (r Ready) proves() bool {
	return r.Type == "notify" || r.Type == "fd" || r.Type == "exec" || r.Type == "http" && r.Header != ""
}

func checkChange(d *decoder, c *Config) {
	checkRules(d, c)
	if c.Change.QuietMax < c.Change.Quiet {
		if at := d.origins[&c.Change.QuietMax]; at != "" {
			d.doubtSource(at, "change.quiet_max", "is below quiet", "")
		}
		c.Change.QuietMax = c.Change.Quiet
	}
	if c.Restart.MinBackoff > c.Restart.MaxBackoff {
		d.doubtSource(cmp.Or(d.origins[&c.Restart.MinBackoff], d.origins[&c.Restart.MaxBackoff]), "restart.min_backoff", "is above max_backoff", "")
	}
	needsUs := slices.ContainsFunc(rules(d, c), func(r rule) bool { return r.Policy != "" && r.Policy != "restart" && r.Policy != "none" })
	if c.Program.Exec && (c.Restart.On != "no" || len(c.Sockets) > 0 || needsUs) {
		d.doubtSource(d.origins[&c.Program.Exec], "program.exec", "leaves nobody to restart, rotate or hold sockets", "remove it or the other key")
	}
	if c.Ready.Header != "" && c.Ready.Type != "http" {
		d.doubtSource(d.origins[&c.Ready.Header], "ready.header", "needs readiness http", "")
	}
	if c.Stop.Signal == "" {
		d.warnings = append(d.warnings, Problem{Source: d.origins[&c.Stop.Signal], Key: "stop.signal", Message: "none: the program is only killed, after the stop timeout"})
	}
}

// rule is a ChangeRule and where it stands.
type rule struct {
	ChangeRule
	at string
}

func rules(d *decoder, c *Config) []rule {
	all := []rule{{ChangeRule{c.Change.Policy, c.Change.Signal, c.Change.Hook}, cmp.Or(d.origins[&c.Change.Policy], "--on-change")}}
	for _, n := range c.Secrets.Named {
		all = append(all, rule{n.OnChange, "--on-change"})
	}
	for _, v := range c.Secrets.Variables {
		all = append(all, rule{v.OnChange, v.Pos.String()})
	}
	for _, v := range c.Secrets.From {
		all = append(all, rule{v.OnChange, v.Pos.String()})
	}
	for _, v := range c.Secrets.RenderFiles {
		all = append(all, rule{v.OnChange, v.Pos.String()})
	}
	for _, v := range c.Secrets.Templates {
		all = append(all, rule{v.OnChange, v.Pos.String()})
	}
	for _, v := range c.Secrets.EnvTemplates {
		all = append(all, rule{v.OnChange, v.Pos.String()})
	}
	return all
}

func checkRules(d *decoder, c *Config) {
	for i, r := range rules(d, c) {
		if r.at == "" {
			continue // a flag's, already seen in Named
		}
		key := "on_change"
		if i == 0 {
			key = "change.policy"
		}
		if r.Policy == "hook" && len(r.Hook) == 0 && len(c.Change.Hook) == 0 {
			d.doubtSource(r.at, key, "policy hook needs a command", "")
		}
		if r.Policy == "overlap" && !c.Ready.proves() {
			d.doubtSource(r.at, key, fmt.Sprintf("overlap cannot tell the new program from the old one with readiness %s", c.Ready.Type),
				"use readiness notify, fd or exec, or http with ready.header")
		}
	}
}

func checkTokenUse(d *decoder, c *Config) {
	var first tokenUse
	for _, u := range d.tokenUse {
		if first.key != "" && first.key != u.key {
			d.doubt(u.pos, u.key, fmt.Sprintf("is also set by %s", first.key), "remove one of them")
		}
		first = u
	}
	if !c.APIProxy.UseAutoAuthToken || first.key == "" {
		return
	}
	if !c.autoAuth && c.Login.Method == "" {
		d.doubt(first.pos, first.key, "needs a login", "add auto_auth")
	}
	if c.Login.WrapTTL > 0 {
		d.doubt(first.pos, first.key, "cannot be used with auto_auth.method.wrap_ttl", "")
	}
	if len(c.APIProxy.ChildPaths) > 0 {
		d.doubt(first.pos, first.key, "lends our token to whoever shows none, so child_paths and --child-path limit nothing", "leave one of the two out")
	}
}

// checkWhole is about combinations that do nothing.
func checkWhole(d *decoder, c *Config) {
	if c.APIProxy.Enabled && len(c.Listeners) == 0 {
		d.doubt(d.blocks["api_proxy"], "api_proxy", "needs a listener", "")
	}
	if c.Cache.Enabled && c.Cache.Persist.Type == "" && len(c.Listeners) == 0 && len(c.Secrets.Templates)+len(c.Secrets.EnvTemplates) == 0 {
		d.doubt(d.blocks["cache"], "cache", "needs a listener or a template", "")
	}
	formats := map[Word][]string{Render: {"names", "env", "json", "dotenv", "github", "gitlab"}}[c.Word]
	if formats == nil {
		formats = []string{"text", "json"}
	}
	if f := c.Check.Format; f != "" && !slices.Contains(formats, f) {
		d.failSource("--format", fmt.Sprintf("%q is no format of %s", f, cmp.Or(string(c.Word), "envexec")), choose(f, formats))
	}
	if c.Word == Proxy && len(c.Listeners) == 0 && len(d.problems) == 0 {
		d.failSource("proxy", "no listener", "add a listener stanza or --listen-vault")
	}
}
