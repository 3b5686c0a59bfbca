package supervise

import (
	"errors"
	"os"

	"github.com/envexec/envexec/internal/systemd"
)

var errNoSockets = errors.New("sockets cannot be handed to a program on Windows")

func openSocket(Socket) (held, error) { return held{}, errNoSockets }

func closeSocket(held) {}

func takePassed([]systemd.Socket) ([]held, error) { return nil, nil }

func (s *Supervisor) descriptors(*os.File) []uintptr {
	return []uintptr{
		fileDescriptor(s.cfg.Stdin, stdHandle(0)), fileDescriptor(s.cfg.Stdout, stdHandle(1)), fileDescriptor(s.cfg.Stderr, stdHandle(2)),
	}
}
