//go:build !windows

package environ

func fold(name string) string { return name }

func measure(s string) int { return len(s) }
