package main

import (
	"strings"
	"testing"

	"github.com/envexec/envexec/config"
)

// Where there are no unix sockets, the program's listener becomes a port of the
// loopback, and our token is never lent to whoever asks there.
func TestUnixListenersMoveToTheLoopback(t *testing.T) {
	child := config.Listener{Type: "unix", Address: "/run/v", Child: true}
	other := config.Listener{Type: "unix", Address: "/run/v"}
	tcp := config.Listener{Type: "tcp", Address: "127.0.0.1:8100"}
	for _, tc := range []struct {
		name      string
		listeners []config.Listener
		lend      bool
		refused   string
		token     bool
	}{
		{"the program's own", []config.Listener{child, tcp}, false, "", false},
		{"the program's, with our token", []config.Listener{child}, true, "", true},
		{"with our token for others too", []config.Listener{child, tcp}, true, "everybody could use our token", false},
		{"other programs'", []config.Listener{other}, false, "listen on /run/v: this system has no unix sockets", false},
		{"none", []config.Listener{tcp}, true, "", false},
	} {
		c := &config.Config{Listeners: append([]config.Listener(nil), tc.listeners...)}
		c.APIProxy.UseAutoAuthToken = tc.lend
		err := onLoopback(c)
		if tc.refused != "" {
			if err == nil || !strings.Contains(err.Error(), tc.refused) {
				t.Errorf("%s: %v", tc.name, err)
			}
			continue
		}
		if err != nil || c.APIProxy.ChildToken != tc.token || c.APIProxy.UseAutoAuthToken && tc.token {
			t.Errorf("%s: %v, %+v", tc.name, err, c.APIProxy)
		}
		for i, l := range c.Listeners {
			if tc.listeners[i].Child && (l.Type != "tcp" || l.Address != "127.0.0.1:0" || !l.Child) {
				t.Errorf("%s: %+v", tc.name, l)
			}
		}
	}
}
