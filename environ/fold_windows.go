package environ

import (
	"strings"
	"unicode/utf16"
	"unicode/utf8"

	"golang.org/x/sys/windows"
)

var upcase = windows.NewLazySystemDLL("ntdll.dll").NewProc("RtlUpcaseUnicodeChar")

// fold: Windows compares names without case, by a table of its own in which, unlike
// in Unicode's, no letter changes into one of another kind (ı into I, ſ into S).
func fold(name string) string {
	ascii := func(r rune) bool { return r < utf8.RuneSelf }
	if strings.IndexFunc(name, func(r rune) bool { return !ascii(r) }) < 0 {
		return strings.ToUpper(name)
	}
	return strings.Map(func(r rune) rune {
		if r > 0xffff {
			return r // two UTF-16 units, which have no case
		}
		up, _, _ := upcase.Call(uintptr(r))
		return rune(uint16(up))
	}, name)
}

func measure(s string) int { return len(utf16.Encode([]rune(s))) }
