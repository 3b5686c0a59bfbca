package environ

import "strings"

// Matches reports whether name matches one of patterns, in which * stands for any
// run of characters.
func Matches(name string, patterns ...string) bool {
	for _, p := range patterns {
		if glob(fold(p), fold(name)) {
			return true
		}
	}
	return false
}

// glob keeps one point to return to, the last *, so its time is at most len(p)*len(s).
func glob(p, s string) bool {
	star, mark := -1, 0
	i, j := 0, 0
	for j < len(s) {
		switch {
		case i < len(p) && p[i] == '*':
			star, mark = i, j
			i++
		case i < len(p) && p[i] == s[j]:
			i, j = i+1, j+1
		case star >= 0:
			mark++
			i, j = star+1, mark
		default:
			return false
		}
	}
	return strings.Trim(p[i:], "*") == ""
}

// Valid reports whether name is one a shell accepts: letters, digits and _, not
// beginning with a digit.
func Valid(name string) bool { return name != "" && Identifier(name) == name }

// Identifier makes key a valid name: every other character becomes _, and a leading
// digit gets one in front. An empty key stays empty.
func Identifier(key string) string {
	var b strings.Builder
	for i, r := range key {
		switch {
		case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r == '_':
			b.WriteRune(r)
		case r >= '0' && r <= '9':
			if i == 0 {
				b.WriteByte('_')
			}
			b.WriteRune(r)
		default:
			b.WriteByte('_')
		}
	}
	return b.String()
}

// Dangerous reports whether setting name lets whoever writes the secret run code in
// the program: nothing sets such a variable unless the user named it.
func Dangerous(name string) bool {
	return Matches(name, "PATH", "IFS", "LD_*", "DYLD_*", "BASH_ENV", "ENV", "NODE_OPTIONS",
		"PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP", "PERL5OPT", "PERL5LIB", "RUBYOPT", "RUBYLIB", "JAVA_TOOL_OPTIONS",
		"PATHEXT", "COMSPEC", "GCONV_PATH", "GIT_SSH_COMMAND")
}
