// Command demo shows the main job on a real Vault, on loopback, and proves each
// step by asking Vault. It needs bin/envexec and bin/vault (make demo builds
// both), changes nothing outside a temporary directory, and ends with status 1
// if a step does not hold.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/envexec/envexec/internal/vaulttest"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := vaulttest.RunProgram(ctx, demo); err != nil {
		fmt.Fprintf(os.Stderr, "\ndemo failed: %v\n", err)
		os.Exit(1)
	}
}

func demo(t vaulttest.T) {
	s := prepare(t)
	s.login(t)
	s.rotate(t)
	s.finish(t)
	fmt.Printf("\nAll of it held, on a real Vault. Next: make test, or your own program:\n" +
		"  VAULT_ADDR=… VAULT_TOKEN=… bin/envexec --env DB_PASSWORD=secret/app#password -- your-program\n")
}
