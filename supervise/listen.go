package supervise

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Socket is a listening socket that we hold for the program, across all its
// generations: connections wait in it while no program accepts.
type Socket struct {
	Name    string      // in LISTEN_FDNAMES; no colon, at most 255 bytes
	Network string      // tcp, tcp4, tcp6, udp, udp4, udp6, unix, unixgram
	Address string      // host:port or path
	Mode    os.FileMode // unix only; 0 = 0600
	Owner   *User       // unix only; nil = as it is created
}

// held is a socket open in this process, close-on-exec.
type held struct {
	fd   int
	name string
	path string // to be removed at the end; "" = not ours
	ours bool   // opened by us, not passed to us
}

var networks = []string{"tcp", "tcp4", "tcp6", "udp", "udp4", "udp6", "unix", "unixgram"}

// maxName bounds a name in LISTEN_FDNAMES.
const maxName = 255

func (c *Config) checkSockets() error {
	var errs []error
	seen := map[string]bool{}
	for _, s := range c.Sockets {
		badName := s.Name == "" || len(s.Name) > maxName || strings.ContainsFunc(s.Name, func(r rune) bool { return r == ':' || r < ' ' || r == 0x7f })
		switch {
		case badName:
			errs = append(errs, fmt.Errorf("socket name %q: want 1 to %d bytes without colon or control character", s.Name, maxName))
		case seen[s.Name]:
			errs = append(errs, fmt.Errorf("socket %q is named twice", s.Name))
		case !slices.Contains(networks, s.Network):
			errs = append(errs, fmt.Errorf("socket %q: unknown network %q", s.Name, s.Network))
		case s.Address == "":
			errs = append(errs, fmt.Errorf("socket %q: no address", s.Name))
		}
		seen[s.Name] = true
	}
	return errors.Join(errs...)
}

// Listen opens the sockets; Run does so itself if it was not called. A socket
// the service manager passed to us under the same name is taken instead of opening one.
func (s *Supervisor) Listen() error {
	if s.listening {
		return nil
	}
	passed, err := takePassed(s.cfg.Manager.Sockets)
	if err != nil {
		return err
	}
	for _, want := range s.cfg.Sockets {
		if i := slices.IndexFunc(passed, func(h held) bool { return h.name == want.Name }); i >= 0 {
			s.sockets = append(s.sockets, passed[i])
			passed = slices.Delete(passed, i, i+1)
			continue
		}
		h, err := openSocket(want)
		if err != nil {
			s.sockets = append(s.sockets, passed...)
			s.closeSockets()
			return fmt.Errorf("listen on %s: %w", want.Name, err)
		}
		s.sockets = append(s.sockets, h)
	}
	s.sockets = append(s.sockets, passed...)
	s.listening = true
	return nil
}

func (s *Supervisor) closeSockets() {
	for _, h := range s.sockets {
		closeSocket(h)
	}
	s.sockets = nil
}

// socketEnv is what the program needs to find its sockets. LISTEN_PID is added
// by the stage between fork and exec: only there the id is known.
func (s *Supervisor) socketEnv() []string {
	if len(s.sockets) == 0 {
		return nil
	}
	var names, nginx []string
	for i, h := range s.sockets {
		names = append(names, h.name)
		nginx = append(nginx, fmt.Sprintf("%d;", firstFD+i))
	}
	env := []string{fmt.Sprintf("LISTEN_FDS=%d", len(s.sockets)), "LISTEN_FDNAMES=" + strings.Join(names, ":")}
	// nginx has its own way of inheriting sockets, from its upgrade of itself.
	if filepath.Base(s.path) == "nginx" {
		env = append(env, "NGINX="+strings.Join(nginx, ""))
	}
	return env
}
