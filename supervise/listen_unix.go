//go:build unix

package supervise

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/envexec/envexec/internal/systemd"
)

// openSocket opens one socket. We keep a duplicate of the descriptor without
// any Go object on it: nothing may ever switch it to blocking, as that would
// switch it for every generation of the program too.
func openSocket(s Socket) (held, error) {
	var (
		conn syscall.Conn
		done interface{ Close() error }
	)
	switch s.Network {
	case "unix", "unixgram":
		if err := removeStale(s); err != nil {
			return held{}, err
		}
	}
	if strings.HasPrefix(s.Network, "udp") || s.Network == "unixgram" {
		pc, err := (&net.ListenConfig{}).ListenPacket(context.Background(), s.Network, s.Address)
		if err != nil {
			return held{}, err
		}
		conn, _ = pc.(syscall.Conn)
		done = pc
	} else {
		l, err := (&net.ListenConfig{}).Listen(context.Background(), s.Network, s.Address)
		if err != nil {
			return held{}, err
		}
		if ul, ok := l.(*net.UnixListener); ok {
			ul.SetUnlinkOnClose(false)
		}
		conn, _ = l.(syscall.Conn)
		done = l
	}
	defer func() { _ = done.Close() }()
	fd, err := duplicate(conn)
	if err != nil {
		return held{}, err
	}
	h := held{fd: fd, name: s.Name, ours: true}
	if strings.HasPrefix(s.Network, "unix") && s.Address[0] != '@' {
		h.path = s.Address
		err = permit(s)
	}
	if err != nil {
		closeSocket(h)
		return held{}, err
	}
	return h, nil
}

func duplicate(conn syscall.Conn) (int, error) {
	if conn == nil {
		return 0, errors.New("not a socket")
	}
	raw, err := conn.SyscallConn()
	if err != nil {
		return 0, err
	}
	fd := -1
	cerr := raw.Control(func(orig uintptr) { fd, err = unix.FcntlInt(orig, unix.F_DUPFD_CLOEXEC, minHeldFD) })
	return fd, errors.Join(err, cerr)
}

// minHeldFD keeps our descriptors out of the way of those the program is given.
const minHeldFD = 64

func permit(s Socket) error {
	mode := s.Mode
	if mode == 0 {
		mode = 0o600
	}
	if s.Owner != nil {
		if err := os.Chown(s.Address, int(s.Owner.UID), int(s.Owner.GID)); err != nil {
			return err
		}
	}
	return os.Chmod(s.Address, mode)
}

// staleWait is how long a live owner of a socket path has to answer.
const staleWait = time.Second

// removeStale removes a socket file nobody listens on any more.
func removeStale(s Socket) error {
	info, err := os.Lstat(s.Address)
	if err != nil || info.Mode()&os.ModeSocket == 0 {
		return nil //nolint:nilerr // bind has the better message
	}
	conn, err := net.DialTimeout(s.Network, s.Address, staleWait)
	if err == nil {
		_ = conn.Close()
		return fmt.Errorf("somebody listens on %s already", s.Address)
	}
	if !errors.Is(err, syscall.ECONNREFUSED) {
		return err
	}
	return os.Remove(s.Address)
}

func closeSocket(h held) {
	_ = unix.Close(h.fd)
	if h.path != "" {
		_ = os.Remove(h.path)
	}
}

// takePassed moves passed sockets out of the range the program's own begin in.
func takePassed(sockets []systemd.Socket) ([]held, error) {
	var out []held
	for _, s := range sockets {
		fd, err := unix.FcntlInt(uintptr(s.FD), unix.F_DUPFD_CLOEXEC, minHeldFD)
		if err != nil {
			return nil, fmt.Errorf("take socket %s (descriptor %d) passed to us: %w", s.Name, s.FD, err)
		}
		_ = unix.Close(s.FD)
		_ = unix.SetNonblock(fd, true)
		out = append(out, held{fd: fd, name: s.Name})
	}
	return out, nil
}

// descriptors lists what becomes 0, 1, 2, … in the program: the standard
// streams, the sockets and, at its number, the readiness pipe.
func (s *Supervisor) descriptors(ready *os.File) []uintptr {
	files := []uintptr{
		fileDescriptor(s.cfg.Stdin, stdHandle(0)), fileDescriptor(s.cfg.Stdout, stdHandle(1)), fileDescriptor(s.cfg.Stderr, stdHandle(2)),
	}
	for _, h := range s.sockets {
		files = append(files, uintptr(h.fd))
	}
	if ready == nil {
		return files
	}
	for len(files) < s.cfg.Ready.FD {
		files = append(files, inherited(len(files)))
	}
	return append(files, ready.Fd())
}

// closed stands for a descriptor that is not open in the program.
const closed = ^uintptr(0)

// inherited passes on what our parent left open under that number.
func inherited(fd int) uintptr {
	flags, err := unix.FcntlInt(uintptr(fd), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC != 0 {
		return closed
	}
	return uintptr(fd)
}
