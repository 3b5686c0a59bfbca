package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/envtemplate"
	"github.com/envexec/envexec/secret"
)

// pace is a source whose secrets at some paths are re-read at an interval of their own,
// whoever names them: a reference, a flag, a template.
type pace struct {
	envtemplate.Source
	paths []config.RefreshPath
}

// Get implements envtemplate.Source.
func (p *pace) Get(ctx context.Context, req secret.Request) (*secret.Secret, error) {
	if every := p.of(req.Path); every > 0 {
		req.Refresh = every
	}
	return p.Source.Get(ctx, req)
}

// of is the last interval said for path; 0 = none.
func (p *pace) of(path string) time.Duration {
	for _, r := range slices.Backward(p.paths) {
		if sameSecret(r.Path, path) {
			return r.Every
		}
	}
	return 0
}

// sameSecret reports whether two paths may be spellings of one KV secret: one has the data/
// of version 2, the other leaves it to envexec. How deep the mount is they do not say.
func sameSecret(a, b string) bool {
	a, b = strings.Trim(a, "/"), strings.Trim(b, "/")
	if a == b {
		return true
	}
	if len(a) < len(b) {
		a, b = b, a
	}
	parts := strings.Split(a, "/")
	for i, part := range parts {
		if part == "data" && i > 0 && strings.Join(slices.Delete(slices.Clone(parts), i, i+1), "/") == b {
			return true
		}
	}
	return false
}
