package config

import (
	"strings"
	"testing"
	"time"
)

func TestDurations(t *testing.T) {
	for text, want := range map[string]time.Duration{"": 0, "5": 5 * time.Second, "90s": 90 * time.Second, "1m30s": 90 * time.Second, "2d": 48 * time.Hour, "-1": -time.Second, "500ms": 500 * time.Millisecond} {
		if got, err := parseDuration(text); err != nil || got != want {
			t.Errorf("%q: %s, %v", text, got, err)
		}
	}
	for _, text := range []string{"1 week", "99999999999999999999", "9223372036854775807", "300000d", "d", "1.5d", "5x"} {
		if got, err := parseDuration(text); err == nil {
			t.Errorf("%q: %s", text, got)
		}
	}
}

func TestSizesAndModes(t *testing.T) {
	for text, want := range map[string]int64{"0": 0, "7": 7, "64k": 64 << 10, "8MiB": 8 << 20, "1g": 1 << 30} {
		if got, err := parseSize(text); err != nil || got != want {
			t.Errorf("%q: %d, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "k", "-1", "9223372036854775807k", "1t"} {
		if got, err := parseSize(text); err == nil {
			t.Errorf("%q: %d", text, got)
		}
	}
	for text, ok := range map[string]bool{"0640": true, "0o600": true, "7777": true, "17777": false, "0999": false, "rw": false, "-1": false} {
		if _, err := parseMode(text); (err == nil) != ok {
			t.Errorf("%q: %v", text, err)
		}
	}
}

func TestReferences(t *testing.T) {
	for text, want := range map[string]reference{
		"kv/a#b":           {"kv/a", "b", 0},
		"vault:/kv/a#b#3":  {"kv/a", "b", 3},
		"kv/data/a#b.c#v2": {"kv/data/a", "b.c", 2},
	} {
		if got, err := parseReference(text); err != nil || got != want {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "#b", "kv/a", "kv/a#", "kv/a#b#0", "kv/a#b#x", "kv/a#b#1#2"} {
		if got, err := parseReference(text); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func TestReadiness(t *testing.T) {
	for text, want := range map[string]Ready{
		"none": {Type: "none"}, "notify": {Type: "notify"}, "fd:3": {Type: "fd", FD: 3}, "delay:2": {Type: "delay", Delay: 2 * time.Second},
		"tcp:127.0.0.1:80": {Type: "tcp", Address: "127.0.0.1:80"}, "tcp://[::1]:80": {Type: "tcp", Address: "[::1]:80"},
		"http://h/x": {Type: "http", Address: "http://h/x"}, "https://h/x": {Type: "http", Address: "https://h/x"}, "http:http://h": {Type: "http", Address: "http://h"},
	} {
		var got Ready
		if err := parseReady(&got, text); err != nil || got.Type != want.Type || got.FD != want.FD || got.Delay != want.Delay || got.Address != want.Address {
			t.Errorf("%q: %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "ready", "fd:1", "fd:", "exec:", "tcp:80", "http:x", "delay:0", "notify:x"} {
		var got Ready
		if err := parseReady(&got, text); err == nil {
			t.Errorf("%q: %+v", text, got)
		}
	}
}

func TestRules(t *testing.T) {
	for text, want := range map[string]string{"restart": "restart  ", "signal:hup": "signal HUP ", "signal": "signal  ", "hook:/a -x": "hook  /a|-x", "exit:3": "exit  ", "none": "none  "} {
		r, _, err := parseRule(text)
		if got := r.Policy + " " + r.Signal + " " + strings.Join(r.Hook, "|"); err != nil || got != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "reload", "signal:NO", "hook", "hook:", "exit:x", "restart:now"} {
		if r, _, err := parseRule(text); err == nil {
			t.Errorf("%q: %+v", text, r)
		}
	}
}

func TestAddresses(t *testing.T) {
	for text, want := range map[string]string{
		"https://vault:8200": "https://vault:8200", "http://[2001:0DB8:0:0::1]:8200/x": "http://[2001:db8::1]:8200/x",
		"http://[2001:0DB8::1]": "http://[2001:db8::1]", "unix:///run/s": "unix:///run/s", "": "https://127.0.0.1:8200",
	} {
		var got string
		if err := checkAddress(&got, text); err != nil || got != want {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"vault:8200", "ftp://x", "http://", "unix://", "://", "http://u:canary@%"} {
		var got string
		if err := checkAddress(&got, text); err == nil || strings.Contains(err.Error(), "canary") {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for text, want := range map[string]string{"user@2001:0db8::1": "user@2001:db8::1", "default": "default", "[2001:0db8::1]:80": "[2001:db8::1]:80"} {
		if got := normalAddress(text); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func TestNearest(t *testing.T) {
	words := []string{"address", "namespace", "tls_skip_verify", "perms", "wait"}
	for word, want := range map[string]string{"adress": "address", "ADDRESS": "address", "namepsace": "namespace", "tls_skip": "tls_skip_verify", "permissions": "perms", "wiat": "wait", "x": "", "entirely_else": ""} {
		if got := nearest(word, words); got != want {
			t.Errorf("%q: %q, want %q", word, got, want)
		}
	}
}

func TestSocketsAndListeners(t *testing.T) {
	for _, text := range []string{"web=tcp://:80", "a=unix:///run/s", "u=udp://0.0.0.0:53"} {
		if _, err := parseSocket(text); err != nil {
			t.Errorf("%q: %v", text, err)
		}
	}
	for _, text := range []string{"", "web", "tcp://:80", "=tcp://:80", "a:b=tcp://:80", "web=tcp://80", "web=:80"} {
		if s, err := parseSocket(text); err == nil {
			t.Errorf("%q: %+v", text, s)
		}
	}
	for text, want := range map[string]string{"unix:///run/s": "unix /run/s", "/run/s": "unix /run/s", "127.0.0.1:1": "tcp 127.0.0.1:1", "http://h:1": "tcp h:1"} {
		l, err := parseVaultListener(text)
		if got := l.Type + " " + l.Address; err != nil || got != want || !l.Child {
			t.Errorf("%q: %q, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "8200", "udp://h:1"} {
		if l, err := parseVaultListener(text); err == nil {
			t.Errorf("%q: %+v", text, l)
		}
	}
}
