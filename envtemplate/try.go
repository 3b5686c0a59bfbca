package envtemplate

import (
	"context"
	"errors"
	"fmt"

	"github.com/envexec/envexec/secret"
)

// ErrUntried is what Try's get answers for a secret it does not read.
var ErrUntried = errors.New("not read")

// Problem is one that Try found.
type Problem struct {
	Err     error
	Patient bool // it would not end Run
}

// Try makes once what only looks keys up in secrets, with those that get returns, and
// keeps nothing of it. Of what needs the template engine it asks only for the secrets
// that are known before it runs, because the engine may do more than look. What get
// refuses with ErrUntried is passed over.
func (r *Renderer) Try(ctx context.Context, get func(secret.Request) (*secret.Secret, error)) []Problem {
	var problems []Problem
	for _, u := range r.units {
		for _, err := range u.try(ctx, get) {
			if err != nil && !errors.Is(err, ErrUntried) {
				problems = append(problems, Problem{fmt.Errorf("%s: %w", u.name, err), u.patient})
			}
		}
	}
	return problems
}

func (u *unit) try(ctx context.Context, get getter) []error {
	template, ok := u.work.(*templateWork)
	if !u.engine || ok && template.src.plain != nil {
		_, err := u.work.run(ctx, get)
		return []error{err}
	}
	var errs []error
	for _, req := range u.requests {
		_, err := get(req)
		errs = append(errs, err)
	}
	return errs
}
