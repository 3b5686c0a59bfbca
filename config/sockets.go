package config

import (
	"errors"
	"fmt"
	"math"
	"net"
	"strconv"
	"strings"
)

// parseSocket reads NAME=NETWORK://ADDRESS.
func parseSocket(text string) (Socket, error) {
	name, address, ok := strings.Cut(text, "=")
	if !ok || strings.Contains(name, "/") {
		return Socket{}, fmt.Errorf("%q is not NAME=tcp://HOST:PORT or NAME=unix:///PATH", text)
	}
	s := Socket{Name: name}
	return s, socketAddress(&s, address)
}

// hostPort refuses what can never be listened on or dialed. A port may have a name.
func hostPort(text string) error {
	_, port, err := net.SplitHostPort(text)
	if err != nil {
		return fmt.Errorf("%q is no HOST:PORT", text)
	}
	if n, err := strconv.Atoi(port); err == nil && (n < 0 || n > math.MaxUint16) || errors.Is(err, strconv.ErrRange) {
		return fmt.Errorf("port %s of %q is not one of 0 to 65535", port, text)
	}
	return nil
}

func socketAddress(s *Socket, address string) error {
	network, rest, ok := strings.Cut(address, "://")
	if !ok || rest == "" {
		return fmt.Errorf("%q is not tcp://HOST:PORT or unix:///PATH", address)
	}
	s.Network, s.Address = network, rest
	if s.Name == "" || len(s.Name) > 255 || strings.ContainsFunc(s.Name, func(r rune) bool { return r == ':' || r < ' ' || r > '~' }) {
		return fmt.Errorf("socket name %q: needs 1 to 255 printable characters without a colon", s.Name)
	}
	switch network {
	case "tcp", "tcp4", "tcp6", "udp", "udp4", "udp6":
		if err := hostPort(rest); err != nil {
			return err
		}
	case "unix", "unixgram":
	default:
		return oneOf(network, "tcp", "tcp4", "tcp6", "udp", "unix", "unixgram")
	}
	return nil
}

// parseVaultListener reads unix:///path, tcp://host:port or host:port.
func parseVaultListener(text string) (Listener, error) {
	l := defaultListener()
	l.Child, l.TLSDisable = true, true
	network, rest, ok := strings.Cut(text, "://")
	if !ok {
		network, rest = "tcp", text
		if strings.HasPrefix(text, "/") {
			network = "unix"
		}
	}
	l.Type, l.Address = network, rest
	switch network {
	case "unix":
	case "tcp", "http":
		l.Type = "tcp"
		if err := hostPort(rest); err != nil {
			return l, err
		}
	default:
		return l, fmt.Errorf("%q is not unix:///PATH or HOST:PORT", text)
	}
	return l, nil
}
