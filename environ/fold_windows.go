package environ

import (
	"strings"
	"unicode/utf16"
)

// fold: Windows compares names without case.
func fold(name string) string { return strings.ToUpper(name) }

func measure(s string) int { return len(utf16.Encode([]rune(s))) }
