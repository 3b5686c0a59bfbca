package config

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	hclparser "github.com/hashicorp/hcl/hcl/parser"
	"github.com/hashicorp/hcl/hcl/scanner"
	"github.com/hashicorp/hcl/hcl/token"
)

// syntaxProblem says what a parser's error means to whoever wrote the file, and where. It
// shows none of the file's text: an unquoted value may be a secret.
func syntaxProblem(file string, src []byte, err error) Problem {
	if p, ok := notText(file, src); ok {
		return p
	}
	var p Problem
	if !errors.As(err, &p) {
		p = hclProblem(file, err)
	}
	said := strings.TrimPrefix(p.Message, "syntax error: ")
	begins := func(what string) bool { return strings.HasPrefix(said, what) }
	switch {
	case strings.HasSuffix(said, " not terminated"):
		p = unclosed(file, src, p)
	case strings.HasSuffix(said, "RBRACE got: EOF"):
		p.Pos, p.Message = openBrace(file, src, p.Pos), "syntax error: the { here is not closed"
	case begins("Unknown token") && strings.Contains(said, "IDENT"), said == "unexpected token while parsing list: IDENT":
		p.Message, p.Hint = "syntax error: not a value", "text needs double quotes"
	case begins("nested object expected"):
		p.Message, p.Hint = "syntax error: expected {", "write NAME = VALUE or NAME { … }, here or in the line before"
	case begins("key '"):
		p.Message, p.Hint = "syntax error: a name without a value", "write NAME = VALUE or NAME { … }"
	case begins("error parsing list"):
		p.Message = "syntax error: expected , or ] in a list"
	case said == "illegal octal number":
		p.Message, p.Hint = "syntax error: a number that begins with 0 is octal", "use the digits 0 to 7"
	case said == "illegal char escape":
		p.Message, p.Hint = "syntax error: unknown escape in a string", `write \\ for a backslash`
	case begins("illegal char"), begins("Unknown token"), begins("unexpected token"), begins("expected: "), begins("object expected"):
		p.Message = "syntax error: unexpected " + charName(charAt(src, p.Pos))
	}
	return p
}

// openBrace finds the innermost { that nothing closes.
func openBrace(file string, src []byte, or Position) Position {
	sc, open := scanner.New(src), []token.Pos{}
	sc.Error = func(token.Pos, string) {}
	for t := sc.Scan(); t.Type != token.EOF; t = sc.Scan() {
		switch {
		case t.Type == token.LBRACE:
			open = append(open, t.Pos)
		case t.Type == token.RBRACE && len(open) > 0:
			open = open[:len(open)-1]
		}
	}
	if len(open) == 0 {
		return or
	}
	return position(file, open[len(open)-1])
}

// hclProblem finds the place of an error, which the parser keeps in two ways.
func hclProblem(file string, err error) Problem {
	p := Problem{Pos: Position{File: file}, Message: "syntax error: " + err.Error()}
	var at *hclparser.PosError
	if errors.As(err, &at) {
		p.Pos.Line, p.Pos.Column = at.Pos.Line, at.Pos.Column
		p.Message = "syntax error: " + at.Err.Error()
	} else if m := regexp.MustCompile(`(\d+):(\d+)`).FindStringSubmatch(err.Error()); m != nil {
		p.Pos.Line, _ = strconv.Atoi(m[1])
		p.Pos.Column, _ = strconv.Atoi(m[2])
	}
	return p
}

// notText recognizes what no editor saves as UTF-8.
func notText(file string, src []byte) (Problem, bool) {
	at := func(offset int) Position { return placeOf(file, src, offset) }
	if bytes.HasPrefix(src, []byte("\xff\xfe")) || bytes.HasPrefix(src, []byte("\xfe\xff")) || len(src) > 1 && (src[0] == 0) != (src[1] == 0) {
		return Problem{Pos: at(0), Message: "the file is UTF-16 text", Hint: "save it as UTF-8"}, true
	}
	if i := bytes.IndexByte(src, 0); i >= 0 {
		return Problem{Pos: at(i), Message: "a NUL byte: the file is no text"}, true
	}
	if !utf8.Valid(src) {
		i := 0
		for r, n := utf8.DecodeRune(src); r != utf8.RuneError || n != 1; r, n = utf8.DecodeRune(src[i:]) {
			i += n
		}
		return Problem{Pos: at(i), Message: "the file is not UTF-8 text", Hint: "save it as UTF-8"}, true
	}
	return Problem{}, false
}

func placeOf(file string, src []byte, offset int) Position {
	before := src[:offset]
	return Position{File: file, Line: bytes.Count(before, []byte("\n")) + 1, Column: offset - bytes.LastIndexByte(before, '\n')}
}

// unclosed finds where what runs into the end of its line or of the file begins.
func unclosed(file string, src []byte, p Problem) Problem {
	sc, broken := scanner.New(src), false
	sc.Error = func(_ token.Pos, what string) { broken = broken || strings.HasSuffix(what, " not terminated") }
	for t := sc.Scan(); t.Type != token.EOF; t = sc.Scan() {
		if !broken {
			continue
		}
		p.Pos = position(file, t.Pos)
		p.Message = "syntax error: the string that begins here is not closed"
		switch {
		case t.Type == token.HEREDOC:
			p.Message, p.Hint = "syntax error: the heredoc that begins here is not closed", "its last line must be the marker alone"
		case t.Type == token.COMMENT:
			p.Message, p.Hint = "syntax error: the comment that begins here is not closed", "end it with */"
		case strings.Contains(t.Text, "${"):
			p.Hint = "${ must be closed with } before the closing quote counts"
		}
		return p
	}
	return p
}

func charAt(src []byte, at Position) rune {
	lines := bytes.SplitAfterN(src, []byte("\n"), at.Line+1)
	if at.Line < 1 || at.Line > len(lines) {
		return 0
	}
	line := []rune(string(lines[at.Line-1]))
	if at.Column < 1 || at.Column > len(line) {
		return 0
	}
	return line[at.Column-1]
}

func charName(r rune) string {
	switch {
	case r == 0 || r == '\n':
		return "character"
	case r == ':':
		return "character :; write NAME = VALUE"
	case r == '\'':
		return "character '; text needs double quotes"
	case r == '“', r == '”', r == '„':
		return fmt.Sprintf("character %c; text needs double quotes (\")", r)
	case strconv.IsPrint(r):
		return fmt.Sprintf("character %c", r)
	}
	return fmt.Sprintf("character %U", r)
}
