package main

import (
	"strings"
	"testing"

	"github.com/envexec/envexec/config"
)

func TestListenerAddresses(t *testing.T) {
	const loopback = `{{ GetAllInterfaces | include "type" "IPv4" | include "flag" "loopback" | limit 1 | attr "address" }}`
	for _, tc := range []struct{ address, want, wrong string }{
		{"127.0.0.1:8200", "127.0.0.1:8200", ""},
		{loopback + ":8200", "127.0.0.1:8200", ""},
		{`{{ GetAllInterfaces | include "name" "no-such-interface" | attr "address" }}:8200`, "", `a.hcl:1:1: listener address "{{ GetAllInterfaces`},
		{"127.0.0.1 " + loopback + ":8200", "", "it must be one address"},
		{"{{ Nonsense }}:8200", "", "a.hcl:1:1: listener address"},
	} {
		c := &config.Config{Listeners: []config.Listener{{Type: "tcp", Address: tc.address, Pos: config.Position{File: "a.hcl", Line: 1, Column: 1}}}}
		err := addresses(c)
		if tc.wrong == "" && (err != nil || c.Listeners[0].Address != tc.want) {
			t.Errorf("%s: %v, %s", tc.address, err, c.Listeners[0].Address)
		}
		if tc.wrong != "" && (err == nil || !strings.Contains(err.Error(), tc.wrong)) {
			t.Errorf("%s: %v", tc.address, err)
		}
	}
}
