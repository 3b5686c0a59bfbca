package main

import (
	"os"

	"golang.org/x/sys/windows"

	"github.com/envexec/envexec/environ"
)

// runtimeDir is where the status socket lives: one place for all accounts, so that an
// administrator finds a service's. The socket's own rights keep others away.
func runtimeDir(environ.Environ) string {
	dir, err := windows.KnownFolderPath(windows.FOLDERID_ProgramData, windows.KF_FLAG_DONT_VERIFY)
	if err != nil {
		return os.TempDir()
	}
	return dir
}
