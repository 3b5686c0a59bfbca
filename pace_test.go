package main

import "testing"

func TestSameSecret(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		same bool
	}{
		{"secret/db", "secret/db", true},
		{"secret/db", "/secret/data/db/", true},
		{"secret/data/db", "secret/db", true},
		{"team/kv/data/db", "team/kv/db", true},
		{"secret/data/data", "secret/data", true},
		{"data/db", "db", false},
		{"secret/data/db", "secret/metadata/db", false},
		{"secret/data/db", "secret/data/other", false},
		{"", "secret/db", false},
	} {
		if got := sameSecret(tc.a, tc.b); got != tc.same {
			t.Errorf("sameSecret(%q, %q) = %v", tc.a, tc.b, got)
		}
	}
}
