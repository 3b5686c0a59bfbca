package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/envexec/envexec/environ"
)

const plainFile = "stop {\n  timeout = \"7s\"\n}\n"

func utf16Text(text string, mark, big bool) string {
	units := utf16.Encode([]rune(text))
	if mark {
		units = append([]uint16{0xfeff}, units...)
	}
	var b strings.Builder
	for _, u := range units {
		if big {
			b.WriteByte(byte(u >> 8))
			b.WriteByte(byte(u))
		} else {
			b.WriteByte(byte(u))
			b.WriteByte(byte(u >> 8))
		}
	}
	return b.String()
}

// Whatever bytes a file has, they are read, or the error says what is wrong and where.
func TestStrangeFiles(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"byte order mark", "\xef\xbb\xbf" + plainFile, ""},
		{"byte order mark and JSON", "\xef\xbb\xbf{\"stop\": {\"timeout\": 7}}", ""},
		{"DOS line ends", strings.ReplaceAll(plainFile, "\n", "\r\n"), ""},
		{"DOS line ends and a heredoc", "template {\r\n contents = <<E\r\na\r\nE\r\n destination = \"d\"\r\n}\r\nstop { timeout = 7 }\r\n", ""},
		{"no line end", "stop { timeout = 7 }", ""},
		{"quoted keys, equal signs", "\"stop\" = { \"timeout\" = \"7s\" }\n", ""},
		{"text that looks like interpolation", "template {\n contents = \"${a} $${b} ${c(\"d\")} $e {{ f }}\"\n destination = \"d\"\n}\nstop { timeout = 7 }\n", ""},
		{"UTF-16 as Windows writes it", utf16Text(plainFile, true, false), `x.hcl:1:1: the file is UTF-16 text; save it as UTF-8`},
		{"UTF-16, the other way round", utf16Text(plainFile, true, true), `x.hcl:1:1: the file is UTF-16 text; save it as UTF-8`},
		{"UTF-16 without a mark", utf16Text(plainFile, false, false), `x.hcl:1:1: the file is UTF-16 text; save it as UTF-8`},
		{"Latin-1", plainFile + "# caf\xe9\n" + `pid_file = "caf` + "\xe9\"\n", `x.hcl:4:6: the file is not UTF-8 text; save it as UTF-8`},
		{"NUL in a string", "pid_file = \"a\x00b\"\n", `x.hcl:1:14: a NUL byte: the file is no text`},
		{"NUL at the end", plainFile + "\x00", `x.hcl:4:1: a NUL byte: the file is no text`},
		{"a binary", "\x7fELF\x02\x01\x01\x00\x00", `x.hcl:1:8: a NUL byte: the file is no text`},
		{"string over the line end", "pid_file = \"hunter2\nlog_level = \"info\"\n", `x.hcl:1:12: syntax error: the string that begins here is not closed`},
		{"interpolation never closed", "pid_file = \"a ${ b\"\nlog_level = \"info\"\n", `x.hcl:1:12: syntax error: the string that begins here is not closed; ${ must be closed with } before the closing quote counts`},
		{"string of JSON over the line end", "{\n\"pid_file\": \"hunter2\n}", `x.hcl:2:13: syntax error: the string that begins here is not closed`},
		{"heredoc never closed", "template {\n contents = <<E\n hunter2\n}\n", `x.hcl:2:13: syntax error: the heredoc that begins here is not closed; its last line must be the marker alone`},
		{"no quotes", "vault { namespace = hunter2 }\n", `x.hcl:1:21: syntax error: not a value; text needs double quotes`},
		{"no quotes in JSON", "{\"vault\": {\"namespace\": hunter2}}", `x.hcl:1:25: syntax error: not a value; text needs double quotes`},
		{"single quotes", "vault { namespace = 'hunter2' }\n", `x.hcl:1:21: syntax error: unexpected character '; text needs double quotes`},
		{"colon", "vault { namespace: \"a\" }\n", `x.hcl:1:18: syntax error: unexpected character :; write NAME = VALUE`},
		{"a list of JSON", "[{\"stop\": {\"timeout\": 7}}]", `x.hcl:1:1: syntax error: unexpected character [`},
		{"block without an opening brace", "vault\n  namespace = \"hunter2\"\n}\n", `x.hcl:2:13: syntax error: expected {; write NAME = VALUE or NAME { … }, here or in the line before`},
		{"no equal sign", "pid_file \"hunter2\"\nlog_level = \"info\"\n", `x.hcl:2:11: syntax error: expected {; write NAME = VALUE or NAME { … }, here or in the line before`},
		{"two equal signs", "pid_file == \"hunter2\"\n", `x.hcl:1:11: syntax error: unexpected character =`},
		{"brace never closed", "stop {\n timeout = 7\n}\nvault {\n retry {\n }\n# hunter2 }\n", `x.hcl:4:7: syntax error: the { here is not closed`},
		{"a brace too many", "stop { timeout = 7 }\n}\n", `x.hcl:2:1: syntax error: unexpected character }`},
		{"list without a comma", "exec { command = [\"a\" \"hunter2\"] }\n", `x.hcl:1:23: syntax error: expected , or ] in a list`},
		{"list never closed", "exec {\n command = [\"hunter2\"\n}\n", `x.hcl:3:1: syntax error: expected , or ] in a list`},
		{"list without quotes", "exec { command = [\"a\", hunter2] }\n", `x.hcl:1:24: syntax error: not a value; text needs double quotes`},
		{"a bare word", "hunter2", `x.hcl:1:9: syntax error: a name without a value; write NAME = VALUE or NAME { … }`},
		{"no octal number", "stop { timeout = 089 }\n", `x.hcl:1:21: syntax error: a number that begins with 0 is octal; use the digits 0 to 7`},
		{"comment never closed", "stop { timeout = 7 }\n/* hunter2\n", `x.hcl:2:1: syntax error: the comment that begins here is not closed; end it with */`},
		{"unknown escape", `pid_file = "C:\hunter2"` + "\n", "x.hcl:1:16: syntax error: unknown escape in a string; write \\\\ for a backslash"},
		{"typographic quotes", "pid_file = “hunter2”\n", `x.hcl:1:12: syntax error: unexpected character “; text needs double quotes (")`},
		{"JSON without a comma", "{\"stop\": {\"timeout\": 7 \"grace\": 3}, \"pid_file\": \"p\"}", `x.hcl:1:24: syntax error: expected , or }, found a value; Vault passes over the rest in silence`},
		{"two of JSON", "{\"stop\": {\"timeout\": 7}}\n{\"stop\": {\"timeout\": 8}}", `x.hcl:2:1: syntax error: expected the end of the file, found {; Vault passes over the rest in silence`},
		{"JSON cut off", "{\"stop\": {\"timeout\": 7", `x.hcl:1:23: syntax error: expected , or }, found the end of the file; Vault passes over the rest in silence`},
		{"JSON without a value", "{\"stop\": {\"timeout\": }}", `x.hcl:1:22: syntax error: expected a value, found }; Vault passes over the rest in silence`},
		{"trailing comma of JSON", "{\"stop\": {\"timeout\": 7,},}", ""},
		{"wrong types of JSON", "{\"stop\": 5}", `x.hcl:1:2: stop: must be a block; write stop { … }`},
		{"duplicates of JSON", "{\n \"stop\": {\"timeout\": 7,\n  \"timeout\": 8}\n}", `x.hcl:3:3: stop.timeout: given twice, first in line 2`},
		{"too large", strings.Repeat(" ", maxFileSize+1), `x.hcl: larger than 64 MiB`},
	} {
		c, err := parse(t, map[string]string{"x.hcl": tc.text}, nil, "check", "--offline", "--config", "x.hcl")
		switch {
		case tc.want == "" && (err != nil || c.Stop.Timeout.Seconds() != 7):
			t.Errorf("%s: %v", tc.name, err)
		case tc.want != "" && (err == nil || err.Error() != tc.want):
			t.Errorf("%s: got\n%v\nwant\n%s", tc.name, err, tc.want)
		}
	}
}

// What may lie about in a directory.
func TestStrangeDirectories(t *testing.T) {
	t.Chdir(t.TempDir())
	make := func(dir string, build func()) {
		t.Helper()
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		wd, _ := os.Getwd()
		if err := os.Chdir(dir); err != nil {
			t.Fatal(err)
		}
		build()
		if err := os.Chdir(wd); err != nil {
			t.Fatal(err)
		}
	}
	file := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	link := func(to, name string) {
		t.Helper()
		if err := os.Symlink(to, name); err != nil {
			t.Fatal(err)
		}
	}
	make("junk", func() {
		for _, name := range []string{"a.hcl~", ".#a.hcl", "#a.hcl#", "README", "a.hcl.bak", "a.HCL", "sub.hcl/a.hcl"} {
			file(name, "junk {")
		}
		file("a.hcl", plainFile)
	})
	make("kubernetes", func() { // as a ConfigMap is mounted
		file("..2026_11_26/a.hcl", plainFile)
		link("..2026_11_26", "..data")
		link("..data/a.hcl", "a.hcl")
	})
	make("loop", func() { link("a.hcl", "a.hcl") })
	make("dangling", func() { link("nowhere", "a.hcl") })
	make("folder", func() { link("../junk", "a.hcl") })
	make("empty", func() {})
	link("circle", "circle")
	for path, want := range map[string]string{
		"junk": "", "kubernetes": "",
		"loop":     "loop/a.hcl: cannot open: too many levels of symbolic links",
		"dangling": "dangling/a.hcl: cannot open: no such file or directory",
		"folder":   "folder/a.hcl: cannot read: is a directory",
		"empty":    "empty: the directory has no .hcl or .json file",
		"circle":   "circle: cannot stat: too many levels of symbolic links",
		"nothing":  "nothing: cannot stat: no such file or directory",
	} {
		c, err := Parse([]string{"check", "--offline", "--config", path}, environ.Environ{})
		switch {
		case want == "" && (err != nil || c.Stop.Timeout.Seconds() != 7):
			t.Errorf("%s: %v", path, err)
		case want != "" && (err == nil || err.Error() != want):
			t.Errorf("%s: got\n%v\nwant\n%s", path, err, want)
		}
	}
}
