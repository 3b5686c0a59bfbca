//go:build !windows

package environ

func fold(name string) string { return name }

func measure(s string) int { return len(s) }

const unit = "bytes"

// commandLine: arguments are passed one by one.
func commandLine([]string) int { return 0 }
