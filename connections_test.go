package main

import (
	"net/http"
	"testing"

	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
)

// TestConnectionsOfTheirOwn: what disable_idle_connections and disable_keep_alives
// name has a client of its own, everybody else shares one.
func TestConnectionsOfTheirOwn(t *testing.T) {
	v := &vaultSide{cfg: &config.Config{Vault: config.Vault{
		Address: "http://127.0.0.1:1", DisableIdle: []string{"auto-auth"}, DisableKeepAlives: []string{"proxying"},
	}}}
	var err error
	if v.client, err = newClient(v.cfg.Vault, environ.Environ{}); err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		features          []string
		own, idle, closes bool
	}{
		{features: []string{"templating"}, idle: true},
		{features: []string{"auto-auth"}, own: true},
		{features: []string{"caching", "proxying"}, own: true, idle: true, closes: true},
	} {
		client, err := v.clientFor(environ.Environ{}, tc.features...)
		if err != nil {
			t.Fatal(err)
		}
		transport := client.CloneConfig().HttpClient.Transport.(*http.Transport)
		if (client != v.client) != tc.own || (transport.MaxIdleConnsPerHost >= 0) != tc.idle || transport.DisableKeepAlives != tc.closes {
			t.Errorf("%v: own %v, idle %d, closes %v", tc.features, client != v.client, transport.MaxIdleConnsPerHost, transport.DisableKeepAlives)
		}
	}
}
