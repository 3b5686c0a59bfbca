//go:build !windows

package main

import (
	"os"

	"github.com/envexec/envexec/environ"
)

// runtimeDir is where the status socket lives on systems without abstract sockets.
func runtimeDir(env environ.Environ) string {
	if dir, ok := env.Get("XDG_RUNTIME_DIR"); ok && dir != "" {
		return dir
	}
	return os.TempDir()
}
