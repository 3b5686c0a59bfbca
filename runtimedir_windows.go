package main

import (
	"os"

	"github.com/envexec/envexec/environ"
)

// runtimeDir is where the status socket lives: one place for all accounts, so that an
// administrator finds a service's. The socket's own rights keep others away.
func runtimeDir(env environ.Environ) string {
	if dir, ok := env.Get("ProgramData"); ok && dir != "" {
		return dir
	}
	return os.TempDir()
}
