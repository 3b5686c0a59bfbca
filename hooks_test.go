package main

import (
	"slices"
	"testing"
)

func TestALoneStringIsAShellLine(t *testing.T) {
	for _, tc := range []struct {
		in    []string
		shell bool
	}{
		{[]string{"systemctl reload nginx"}, true}, {[]string{"reload>log"}, true}, {[]string{"$RELOAD"}, true},
		{[]string{"/usr/bin/reload"}, false}, {[]string{`C:\reload.exe`}, false}, {[]string{"nginx", "-s", "reload it"}, false}, {nil, false},
	} {
		got := throughShell(tc.in)
		if tc.shell && (len(got) != 3 || got[2] != tc.in[0]) || !tc.shell && !slices.Equal(got, tc.in) {
			t.Errorf("%q becomes %q", tc.in, got)
		}
	}
}
