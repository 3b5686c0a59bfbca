package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"slices"

	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/envtemplate"
)

// wanted is every secret the user named, in the renderer's words.
type wanted struct {
	variables    []envtemplate.Variable
	from         []envtemplate.From
	files        []envtemplate.File
	templates    []envtemplate.Template
	envTemplates []envtemplate.EnvTemplate
	references   []string // inherited variables that are references
}

func (w wanted) any() bool {
	return len(w.variables)+len(w.from)+len(w.files)+len(w.templates)+len(w.envTemplates) > 0
}

// apart is w in pieces of one secret or template each.
func (w wanted) apart() []wanted {
	var pieces []wanted
	for _, v := range w.variables {
		pieces = append(pieces, wanted{variables: []envtemplate.Variable{v}})
	}
	for _, f := range w.from {
		pieces = append(pieces, wanted{from: []envtemplate.From{f}})
	}
	for _, f := range w.files {
		pieces = append(pieces, wanted{files: []envtemplate.File{f}})
	}
	for _, t := range w.templates {
		pieces = append(pieces, wanted{templates: []envtemplate.Template{t}})
	}
	for _, t := range w.envTemplates {
		pieces = append(pieces, wanted{envTemplates: []envtemplate.EnvTemplate{t}})
	}
	return pieces
}

func wantedSecrets(cfg *config.Config) (wanted, error) {
	var w wanted
	var err error
	if cfg.Secrets.References {
		w.variables, err = envtemplate.FromEnviron(cfg.Environment.Inherited)
		for _, v := range w.variables {
			w.references = append(w.references, v.Name)
		}
	}
	for _, v := range cfg.Secrets.Variables {
		if slices.Contains(w.references, v.Name) {
			err = errors.Join(err, fmt.Errorf("variable %s is a reference in the environment and named by the configuration too: keep one of them", v.Name))
		}
		w.variables = append(w.variables, variable(v))
	}
	for _, f := range cfg.Secrets.From {
		w.from = append(w.from, envtemplate.From{
			Path: f.Path, Version: f.Version, Prefix: f.Prefix, Upcase: f.Upcase, Keys: f.Keys,
			Optional: f.Optional, Refresh: f.Refresh, Delivery: f.Delivery,
		})
	}
	for _, f := range cfg.Secrets.RenderFiles {
		w.files = append(w.files, envtemplate.File{
			Destination: f.Destination, Path: f.Path, Key: f.Key, Version: f.Version, Source: f.Source,
			Mode: fs.FileMode(f.Mode), User: f.User, Group: f.Group, Encoding: f.Encoding,
			Optional: f.Optional, Refresh: f.Refresh,
		})
	}
	for _, t := range cfg.Secrets.Templates {
		w.templates = append(w.templates, template(t))
	}
	for _, t := range cfg.Secrets.EnvTemplates {
		w.envTemplates = append(w.envTemplates, envtemplate.EnvTemplate{
			Name: t.Name, Source: t.Source, Contents: t.Contents,
			AllowMissingKey: t.ErrorOnMissingKey == config.No, KeepOnError: t.ErrorFatal == config.No,
			LeftDelim: t.LeftDelimiter, RightDelim: t.RightDelimiter,
			FunctionDenylist: t.FunctionDenylist, Refresh: t.Refresh, Delivery: t.Delivery,
		})
	}
	return w, errors.Join(err, w.deliver(cfg.Secrets.Named))
}

func variable(v config.Variable) envtemplate.Variable {
	out := envtemplate.Variable{
		Name: v.Name, Path: v.Path, Key: v.Key, Version: v.Version,
		Optional: v.Optional, Default: v.Default, HasDefault: v.HasDefault,
		Refresh: v.Refresh, Delivery: v.Delivery,
	}
	if v.Path == "" {
		out.Text = v.Reference
	}
	return out
}

func template(t config.Template) envtemplate.Template {
	out := envtemplate.Template{
		Source: t.Source, Contents: t.Contents, Destination: t.Destination,
		NoCreateDirs: !t.CreateDestDirs, Perms: fs.FileMode(t.Perms), User: t.User, Group: t.Group,
		Backup: t.Backup, AllowMissingKey: t.ErrorOnMissingKey == config.No, KeepOnError: t.ErrorFatal == config.No,
		LeftDelim: t.LeftDelimiter, RightDelim: t.RightDelimiter, SandboxPath: t.SandboxPath,
		FunctionDenylist: t.FunctionDenylist, WaitMin: t.WaitMin, WaitMax: t.WaitMax, Refresh: t.Refresh,
	}
	if len(t.Command) > 0 {
		out.Command = &envtemplate.Command{
			Args: t.Command, Timeout: t.CommandTimeout, Splay: t.CommandSplay,
			Pristine: t.CommandEnv.Pristine, Env: t.CommandEnv.Custom,
			Allowlist: t.CommandEnv.Allowlist, Denylist: t.CommandEnv.Denylist,
		}
	}
	return out
}

// newRenderer makes a renderer that reads from source.
func newRenderer(cfg *config.Config, source envtemplate.Source, w wanted, env environ.Environ, files envtemplate.Delivery, log *slog.Logger) (*envtemplate.Renderer, error) {
	return envtemplate.New(envtemplate.Config{
		Source:           source,
		Origins:          cfg.Word == config.Render,
		Variables:        w.variables,
		From:             w.from,
		Files:            w.files,
		Templates:        w.templates,
		EnvTemplates:     w.envTemplates,
		Env:              env,
		IgnoreMissing:    cfg.Secrets.IgnoreMissing,
		RenewalThreshold: cfg.Secrets.RenewalThreshold,
		CertMinRemaining: cfg.Secrets.CertMinRemaining,
		Patient:          cfg.Secrets.ExitOnRetryFailure == config.No,
		Lenient:          cfg.Check.Lenient,
		RunCommand:       runCommand(cfg, env),
		Transit:          envtemplate.Transit{Mount: cfg.Secrets.TransitMount, Key: cfg.Secrets.TransitKey},
		Delivery:         files,
		Logger:           log,
	})
}
