package main

import (
	"fmt"
	"strings"

	sockaddr "github.com/hashicorp/go-sockaddr/template"

	"github.com/envexec/envexec/config"
)

// addresses fills in what listeners say of the machine's own addresses, as
// {{ GetPrivateIP }}:8200 does: each must come to one address.
func addresses(c *config.Config) error {
	for i := range c.Listeners {
		l := &c.Listeners[i]
		if l.Type != "tcp" || !strings.Contains(l.Address, "{{") {
			continue
		}
		found, err := sockaddr.Parse(l.Address)
		if err != nil {
			return misconfigured{fmt.Errorf("%s: listener address %q: %w", l.Pos, l.Address, err)}
		}
		if all := strings.Fields(found); len(all) != 1 || strings.HasPrefix(found, ":") {
			return misconfigured{fmt.Errorf("%s: listener address %q: this machine has %q, and it must be one address", l.Pos, l.Address, found)}
		}
		l.Address = found
	}
	return nil
}
