package config

import (
	"os"
	"slices"

	"github.com/envexec/envexec/environ"
)

// Parse reads args (without our own name), the environment and the configuration
// files they name. Errors are *UsageError or *Error.
func Parse(args []string, env environ.Environ) (*Config, error) {
	dir, _ := os.Getwd() // if it is gone, relative paths fail where they are used
	return parseFor(dir, args, env, onWindows)
}

func parseFor(dir string, args []string, env environ.Environ, windows bool) (*Config, error) {
	c, l := defaults(), &loginFlags{}
	c.WorkDir, c.args, c.env = dir, args, env
	opts := options(c, l)
	line, err := parseArgs(args, opts)
	if err != nil {
		return nil, err
	}
	c.Word, c.Words, c.Program.Args = line.word, line.words, line.program
	switch {
	case line.on("help"):
		return &Config{Word: Help, Words: []string{HelpText(c.Word)}}, nil
	case line.on("version") || c.Word == Version:
		return &Config{Word: Version}, nil
	case c.Word == Service:
		return service(line, opts)
	case line.has("completion"):
		return completion(line.flags["completion"])
	}

	d := newDecoder(env)
	d.dir = dir
	at := layers{report: &d.report, origins: d.origins, env: env}
	d.lenient = at.lenient(line)
	at.readEnvFiles(line, opts)
	d.env = at.env
	d.dups, _ = parseBool(value(at.env, "VAULT_ALLOW_PENDING_REMOVAL_DUPLICATE_HCL_ATTRIBUTES"))

	paths := at.paths(line, opts)
	d.readFiles(c, d.expand(paths))
	fromFiles := *c
	at.overlay = func(source string, texts []string) {
		d.overlay(c, source, texts)
		if d.origins[&c.Environment.Files] == source {
			fromFiles.Environment.Files = c.Environment.Files
		}
	}
	at.apply(opts, line)
	d.giveWay(c)
	if len(line.program) > 0 {
		c.Program.Args, c.Program.FromFile = line.program, false
	}
	c.Files = paths
	at.unknownVariables(opts)

	at.env = tokenOfLogin(d, c, at.env)
	chooser{&d.report, at.env, line, l, c}.choose()
	c.Environment.Inherited = at.env
	c.Environment.Strip = stripList(c.Cache.Persist)
	finish(d, c, &fromFiles, opts, line)
	checkSystem(d, c, windows)
	if u := nothingToDo(c, len(d.problems) > 0); u != nil {
		return nil, u
	}
	if c.Word == Check || c.Check.Explain {
		c.Settings = settings(c, opts, d.origins)
	}
	c.Warnings = d.warnings
	if err := d.err(); err != nil {
		return nil, err
	}
	return c, nil
}

func value(env environ.Environ, name string) string {
	v, _ := env.Get(name)
	return v
}

func (l *layers) lenient(line commandLine) bool {
	v, _ := parseBool(value(l.env, "ENVEXEC_LENIENT"))
	return v && !line.has("lenient") || line.on("lenient")
}

// readEnvFiles merges the env files of flags and variables into the environment; those a
// configuration file names only reach the program, in finish.
func (l *layers) readEnvFiles(line commandLine, opts []option) {
	l.files = map[string]string{}
	for _, o := range opts {
		if o.name != "env-file" {
			continue
		}
		files := line.flags[o.name]
		if len(files) == 0 {
			_, files, _ = l.variable(o)
		}
		for _, f := range files {
			l.env = l.mergeEnvFile(l.env, f)
		}
	}
}

func (l *layers) mergeEnvFile(env environ.Environ, file string) environ.Environ {
	src, err := l.report.readAll(file)
	if err != nil {
		l.report.fail(Position{File: file}, "", reason(err), "")
		return env
	}
	vars, places, err := readEnvFile(file, src)
	if err != nil {
		l.report.failErr(file, err)
		return env
	}
	for name, at := range places {
		l.files[name] = at
	}
	merged, _ := env.Merge(vars, environ.Override)
	return merged
}

// paths are the --config flags, or without any the variable's.
func (l *layers) paths(line commandLine, opts []option) []string {
	if line.has("config") {
		return line.flags["config"]
	}
	for _, o := range opts {
		if o.name == "config" {
			if _, list, ok := l.variable(o); ok {
				return list
			}
		}
	}
	return nil
}

// nothingToDo: no program, no file and nothing to serve is a mistake of the caller.
func nothingToDo(c *Config, broken bool) error {
	agent := len(c.Files) > 0 || len(c.Listeners) > 0 || len(c.Secrets.RenderFiles) > 0
	if broken || len(c.Program.Args) > 0 || agent || (c.Word != Run && c.Word != Proxy) {
		return nil
	}
	return &UsageError{Message: "no program and nothing to serve", Hint: "write envexec [flags] -- PROGRAM [ARGS], or see envexec --help"}
}

// sortWarnings orders warnings by place, so that runs are alike.
func sortWarnings(w []Problem) {
	slices.SortStableFunc(w, func(a, b Problem) int { return comparePositions(a.Pos, b.Pos) })
}
