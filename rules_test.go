package main

import (
	"fmt"
	"strings"
	"testing"

	"github.com/envexec/envexec/config"
)

func TestRulesOfOneChange(t *testing.T) {
	c := &config.Config{Change: config.Change{Policy: "restart", Signal: "HUP"}}
	c.Secrets.Variables = []config.Variable{
		{Name: "URL"},
		{Name: "QUIET", OnChange: config.ChangeRule{Policy: "none"}},
		{Name: "HOOKED", OnChange: config.ChangeRule{Policy: "hook", Hook: []string{"a", "b"}}},
	}
	c.Secrets.RenderFiles = []config.RenderFile{
		{Destination: "/cert.pem", OnChange: config.ChangeRule{Policy: "signal"}},
		{Destination: "/key.pem", OnChange: config.ChangeRule{Policy: "signal", Signal: "INT"}},
	}
	c.Secrets.From = []config.From{{Prefix: "APP_", OnChange: config.ChangeRule{Policy: "exit"}}}
	p := &parsing{}
	r := newChangeRules(p, c, []string{"APP_REFERENCE"})
	if len(p.errs) > 0 {
		t.Fatal(p.errs)
	}
	for names, want := range map[string]string{
		"QUIET":                            "none [] []",
		"URL QUIET":                        "restart [] []",
		"/cert.pem":                        "signal [hangup] []",
		"/cert.pem /key.pem":               "signal [hangup interrupt] []",
		"QUIET HOOKED /cert.pem":           "hook [hangup] [[a b]]",
		"APP_MODE /cert.pem":               "exit [hangup] []",
		"APP_REFERENCE":                    "restart [] []", // named by itself: not the secret's of from
		"NOBODYS":                          "restart [] []",
		"/cert.pem /key.pem HOOKED HOOKED": "hook [hangup interrupt] [[a b]]",
	} {
		got := r.of(strings.Fields(names))
		if text := fmt.Sprint(got.policy, " ", got.signals, " ", got.hooks); text != want {
			t.Errorf("%s: %s, want %s", names, text, want)
		}
	}
}
