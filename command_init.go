package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/vault/api"

	"github.com/envexec/envexec/auth"
	"github.com/envexec/envexec/auth/method"
	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
)

const (
	// initPatience bounds all that init asks Vault, not the user.
	initPatience = 2 * time.Minute
	// initMost is how many secrets a wildcard may find: more is no starter file.
	initMost = 1000
	// initDefault is the file that is offered on a terminal.
	initDefault = "envexec.hcl"
)

// runInit writes a starter configuration from the secrets there are. It reads KV secrets
// and nothing else, so it makes no lease; its own login is revoked; no value is written.
func runInit(ctx context.Context, cfg *config.Config, env environ.Environ, stdin *os.File, stdout, stderr io.Writer) (status int, err error) {
	ask := asker{out: stderr}
	if isTerminal(stdin) && !cfg.Check.Yes {
		ask.in = bufio.NewReader(stdin)
	}
	paths, err := ask.paths(cfg.Words)
	if err != nil {
		return 0, err
	}
	to := cfg.Check.Output
	if ask.in != nil && to == "" && isTerminal(os.Stdout) {
		to = ask.line(fmt.Sprintf("Write to which file? [%s] ", initDefault), initDefault)
	}
	if err := ask.mayWrite(to, cfg.Check.Yes); err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, initPatience)
	defer cancel()
	client, err := newClient(cfg.Vault, env)
	if err != nil {
		return 0, misconfigured{err}
	}
	check := &checkup{}
	client, own := check.login(ctx, client, cfg, env)
	if client == nil {
		if err := check.print(stderr, "text"); err != nil || check.Status != 0 {
			return check.Status, err
		}
		return 0, misconfigured{errors.New("init could not log in without using a credential up, so nothing was written: log in another way, as with VAULT_TOKEN")}
	}
	if own {
		defer func() {
			ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), revokePatience)
			defer stop()
			if _, e := method.Send(ctx, client, http.MethodPut, "auth/token/revoke-self", nil); e != nil {
				fmt.Fprintf(stderr, "envexec: init's own login could not be revoked, it ends with its TTL: %v\n", e)
			}
		}()
	}
	s := scout{ctx: ctx, client: client}
	for _, p := range paths {
		s.find(p)
	}
	if err := errors.Join(s.problems...); err != nil {
		return 0, misconfigured{err}
	}
	for _, d := range s.found {
		if d.why != "" {
			fmt.Fprintf(stderr, "envexec: left out: %s %s\n", oneLine(d.path), d.why)
		}
	}
	text := starter(cfg, s.found)
	if to == "" {
		_, err = io.WriteString(stdout, text)
		return 0, err
	}
	if err := replaceFile(to, text); err != nil {
		return 0, fmt.Errorf("write the starter file: %w", err)
	}
	fmt.Fprintf(stderr, "envexec: %s is written; next: envexec --config %s -- PROGRAM\n", to, to)
	return 0, nil
}

// isTerminal reports whether somebody may be sitting there.
func isTerminal(f *os.File) bool {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeCharDevice == 0 {
		return false
	}
	null, err := os.Stat(os.DevNull)
	return err != nil || !os.SameFile(info, null)
}

// asker asks on a terminal; without one it never does.
type asker struct {
	in  *bufio.Reader // nil: nobody to ask
	out io.Writer
}

func (a asker) line(question, def string) string {
	fmt.Fprint(a.out, question)
	answer, _ := a.in.ReadString('\n')
	if answer = strings.TrimSpace(answer); answer == "" {
		return def
	}
	return answer
}

func (a asker) paths(given []string) ([]string, error) {
	if len(given) == 0 && a.in != nil {
		given = strings.Fields(a.line("Which secrets? (KV paths, as secret/app; secret/team/* takes all below) ", ""))
	}
	if len(given) == 0 {
		return nil, &config.UsageError{Message: "init needs the paths of secrets", Hint: "write envexec init secret/app 'secret/team/*'"}
	}
	return given, nil
}

func (a asker) mayWrite(to string, yes bool) error {
	if to == "" || yes {
		return nil
	}
	if info, err := os.Stat(to); err != nil || !info.Mode().IsRegular() {
		return nil //nolint:nilerr // nothing to lose
	}
	if a.in != nil && strings.HasPrefix(strings.ToLower(a.line(to+" exists. Overwrite it? [y/N] ", "n")), "y") {
		return nil
	}
	return &config.UsageError{Message: to + " exists already", Hint: "add --yes to overwrite it"}
}

// discovery is one secret and its keys; null ones are apart.
type discovery struct {
	path string // without data/
	kv   int
	keys []string
	null map[string]bool
	why  string // a wildcard found it, but it cannot be read
}

// scout finds secrets.
type scout struct {
	ctx      context.Context //nolint:containedctx // of one command
	client   *api.Client
	found    []discovery
	problems []error
}

func (s *scout) fail(path string, err error) {
	s.problems = append(s.problems, fmt.Errorf("%s: %w", path, err))
}

// find reads the secret at p, or all that a wildcard names.
func (s *scout) find(p string) {
	p = strings.Trim(strings.TrimPrefix(p, "vault:"), "/")
	at, ok := s.mount(p)
	if !ok {
		return
	}
	rest := strings.TrimPrefix(strings.TrimPrefix(p+"/", at.path), "data/")
	if rest = strings.Trim(rest, "/"); rest == "" {
		rest = "*"
	}
	before := len(s.found)
	s.walk(at, "", strings.Split(rest, "/"), false)
	readable := func(d discovery) bool { return d.why == "" }
	switch {
	case len(s.problems) > 0 || slices.ContainsFunc(s.found[before:], readable):
	case len(s.found) > before:
		s.fail(p, fmt.Errorf("nothing of it can be read: %s %s", s.found[before].path, s.found[before].why))
	default:
		s.fail(p, errors.New("no secret is there"))
	}
}

// mounted is a KV mount.
type mounted struct {
	path string // with trailing slash
	kv   int
}

func (s *scout) mount(p string) (mounted, bool) {
	fixed, _, _ := strings.Cut(p, "*")
	answer, err := method.Send(s.ctx, s.client, http.MethodGet, "sys/internal/ui/mounts/"+strings.TrimSuffix(fixed, "/"), nil)
	if err != nil || answer == nil {
		s.fail(p, fmt.Errorf("its secrets engine cannot be found: %s", describe(err)))
		return mounted{}, false
	}
	at := mounted{kv: 1}
	at.path, _ = answer.Data["path"].(string)
	kind, _ := answer.Data["type"].(string)
	if options, _ := answer.Data["options"].(map[string]any); options["version"] == "2" {
		at.kv = 2
	}
	if kind != "kv" && kind != "generic" {
		s.fail(p, fmt.Errorf("a %s secret is not read here, it could make a lease: write its stanza by hand", kind))
		return mounted{}, false
	}
	return at, true
}

func describe(err error) string {
	if err == nil {
		return "no answer"
	}
	return auth.Describe(err)
}

// walk follows the segments of a pattern below a directory of the mount. A last * takes
// everything below as well; wild: dir was found by one.
func (s *scout) walk(at mounted, dir string, pattern []string, wild bool) {
	if len(s.found) >= initMost {
		return
	}
	segment, last := pattern[0], len(pattern) == 1
	if !strings.ContainsAny(segment, "*?[") {
		if last {
			s.read(at, dir+segment, wild)
			return
		}
		s.walk(at, dir+segment+"/", pattern[1:], wild)
		return
	}
	names, err := s.list(at, dir)
	if err != nil && wild {
		s.found = append(s.found, discovery{path: at.path + dir + "*", why: err.Error()})
		return
	}
	if err != nil {
		s.fail(at.path+dir, err)
		return
	}
	for _, name := range names {
		below := strings.HasSuffix(name, "/")
		if ok, err := path.Match(segment, strings.TrimSuffix(name, "/")); err != nil || !ok {
			continue
		}
		switch {
		case last && !below:
			s.read(at, dir+name, true)
		case last && segment == "*":
			s.walk(at, dir+name, pattern, true)
		case !last && below:
			s.walk(at, dir+name, pattern[1:], true)
		}
	}
}

func (s *scout) list(at mounted, dir string) ([]string, error) {
	where := at.path + dir
	if at.kv == 2 {
		where = at.path + "metadata/" + dir
	}
	answer, err := s.client.Logical().ListWithContext(s.ctx, where) // the slash at the end stays: policies have it
	if err != nil {
		return nil, fmt.Errorf("cannot be listed: %s", auth.Describe(err))
	}
	if answer == nil { // 404: it is empty
		return nil, nil
	}
	list, _ := answer.Data["keys"].([]any)
	var names []string
	for _, one := range list {
		names = append(names, fmt.Sprint(one))
	}
	slices.Sort(names)
	return names, nil
}

// read finds the keys of a secret; by a wildcard it may be one that was deleted, or is
// not for us to read, which is told and no reason to stop.
func (s *scout) read(at mounted, name string, wild bool) {
	if len(s.found) >= initMost {
		s.problems = append(s.problems, fmt.Errorf("more than %d secrets: name fewer", initMost))
		return
	}
	where := at.path + name
	if at.kv == 2 {
		where = at.path + "data/" + name
	}
	d := discovery{path: at.path + name, kv: at.kv, null: map[string]bool{}}
	if slices.ContainsFunc(s.found, func(o discovery) bool { return o.path == d.path }) {
		return
	}
	answer, err := method.Send(s.ctx, s.client, http.MethodGet, where, nil)
	if err != nil || answer == nil {
		d.why = "cannot be read: " + describe(err)
		if !wild {
			s.fail(d.path, errors.New(d.why))
			return
		}
		s.found = append(s.found, d)
		return
	}
	data := answer.Data
	if at.kv == 2 {
		data, _ = data["data"].(map[string]any)
	}
	for key, value := range data {
		d.keys = append(d.keys, key)
		d.null[key] = value == nil
	}
	slices.Sort(d.keys)
	s.found = append(s.found, d)
}
