//go:build !linux

package main

import (
	"os"

	"github.com/envexec/envexec/environ"
)

// memoryDir is the user's temporary directory: these systems have no place in memory
// that is always there.
func memoryDir(environ.Environ) (string, error) { return os.TempDir(), nil }
