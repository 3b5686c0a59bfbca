//go:build !windows

package main

import (
	"io"
	"os"

	"github.com/envexec/envexec/config"
)

// underManager runs job: on this system no service manager talks to us in a way of its own.
func underManager(job func(m *manager, stdout, stderr io.Writer) int) int {
	return job(nil, os.Stdout, os.Stderr)
}

func runService(config.ServiceOptions, []string, io.Writer) (int, error) {
	return 0, &config.UsageError{Message: "envexec service is for Windows", Hint: "here a systemd unit does it: ExecStart=envexec [flags] -- PROGRAM"}
}
