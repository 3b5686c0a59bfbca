//go:build unix

package signals

import (
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

func number(short string) syscall.Signal { return unix.SignalNum("SIG" + short) }

func name(sig syscall.Signal) string { return strings.TrimPrefix(unix.SignalName(sig), "SIG") }
