package config

import (
	"fmt"
	"net"
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
		if _, _, err := net.SplitHostPort(rest); err != nil {
			return fmt.Errorf("%q is no HOST:PORT", rest)
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
		if _, _, err := net.SplitHostPort(rest); err != nil {
			return l, fmt.Errorf("%q is no HOST:PORT", rest)
		}
	default:
		return l, fmt.Errorf("%q is not unix:///PATH or HOST:PORT", text)
	}
	return l, nil
}
