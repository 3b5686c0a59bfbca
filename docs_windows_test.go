package main

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
)

// TestDocsWindows reads every command of docs/windows.md as envexec does. What they do is
// tried under Wine: TestIntegrationWindows.
func TestDocsWindows(t *testing.T) {
	page := readFile(t, filepath.Join("docs", "windows.md"))
	n := 0
	for line := range strings.Lines(page) {
		args := strings.Fields(line)
		if len(args) < 2 || args[0] != "envexec" {
			continue
		}
		n++
		if _, err := config.Parse(args[1:], environ.Environ{}); err != nil {
			t.Errorf("%s: %v", strings.TrimSpace(line), err)
		}
	}
	if n < 6 {
		t.Errorf("%d commands found", n)
	}
}
