// Command envexec stands in front of a program: it logs in to HashiCorp Vault, renders
// secrets into the program's environment and files, starts it, keeps tokens and leases
// alive, and restarts, signals or hands over when a secret really changes.
//
//	envexec [flags] -- program args…
package main

import (
	"io"
	"os"

	_ "github.com/envexec/envexec/internal/early" // first of all packages: see there
	"github.com/envexec/envexec/supervise"
)

func main() {
	os.Exit(supervise.OnMainThread(func() int {
		return underManager(func(m *manager, stdout, stderr io.Writer) int {
			return run(m, os.Args[1:], os.Environ(), stdout, stderr)
		})
	}))
}
