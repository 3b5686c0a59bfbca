package main

import (
	"cmp"
	"fmt"

	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/supervise"
)

// surroundings returns what the program has without its secrets: what it inherits,
// and the home and name of the user it is to run as, where that is not us. Names
// that are kept stay as they were inherited.
func surroundings(c *config.Config) environ.Environ {
	env := inherit(c.Environment)
	if c.Program.User == "" {
		return env
	}
	user, err := supervise.LookupUser(c.Program.User)
	if err != nil {
		return env // the program's start says so
	}
	own := map[string]string{"HOME": cmp.Or(user.Home, "/")}
	if user.Name != "" {
		own["USER"], own["LOGNAME"] = user.Name, user.Name
	}
	kept := env.Keep(c.Environment.Keep...)
	env, _ = env.Strip("HOME", "USER", "LOGNAME").Merge(environ.FromMap(own), environ.Override) // only Conflict fails
	env, _ = env.Merge(kept, environ.Override)
	return env
}

// inherit returns what the program inherits: our own environment without the
// credentials we log in with, or only the names that are kept under --clear-env.
func inherit(c config.Environment) environ.Environ {
	if c.Clear {
		return c.Inherited.Keep(c.Keep...)
	}
	kept := c.Inherited.Keep(c.Keep...)
	rest, _ := c.Inherited.Strip(c.Strip...).Merge(kept, environ.Override) // only Conflict fails
	return rest
}

// inject adds the secrets. references are the names whose inherited value was a
// reference: they are replaced, not in conflict.
func inject(inherited, secrets environ.Environ, references []string, onConflict string) (environ.Environ, error) {
	policy, known := map[string]environ.Policy{
		"override": environ.Override, "keep": environ.KeepFirst, "error": environ.Conflict,
	}[onConflict]
	if !known {
		return environ.Environ{}, fmt.Errorf("unknown conflict policy %q", onConflict)
	}
	all, err := inherited.Strip(references...).Merge(secrets, policy)
	if err != nil {
		return environ.Environ{}, misconfigured{fmt.Errorf("inherited and injected: %w", err)}
	}
	return all, nil
}
