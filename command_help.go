package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/envexec/envexec/environ"
)

// printHelp prints the text as it is; on a terminal its headings are bold, unless
// NO_COLOR or TERM=dumb says no, and its lines are as wide as the terminal.
func printHelp(out io.Writer, text string, env environ.Environ) error {
	if f, ok := out.(*os.File); ok && isTerminal(f) {
		noColor, _ := env.Get("NO_COLOR")
		term, _ := env.Get("TERM")
		text = forTerminal(text, terminalWidth(f), noColor == "" && term != "dumb")
	}
	_, err := fmt.Fprint(out, text)
	return err
}

// helpColumn is where the second column of the help begins.
const helpColumn = 39

// forTerminal wraps lines at width, the second column below itself; 0 wraps nothing.
func forTerminal(text string, width int, bold bool) string {
	var b strings.Builder
	for line := range strings.SplitSeq(strings.TrimSuffix(text, "\n"), "\n") {
		if bold && strings.HasSuffix(line, ":") && !strings.HasPrefix(line, " ") {
			line = "\x1b[1m" + line + "\x1b[0m"
		}
		indent := 0
		if strings.HasPrefix(line, "  ") && width >= helpColumn+20 {
			indent = helpColumn
		}
		for width > 0 {
			head, rest := cutAt(line, width, indent)
			if rest == "" {
				break
			}
			b.WriteString(head + "\n")
			line = strings.Repeat(" ", indent) + rest
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}

// cutAt splits a line that is too wide at the last space behind indent.
func cutAt(line string, width, indent int) (head, rest string) {
	runes := []rune(line)
	if len(runes) <= width {
		return line, ""
	}
	for i := width; i > indent; i-- {
		if runes[i] == ' ' && strings.TrimSpace(string(runes[indent:i])) != "" {
			return string(runes[:i]), strings.TrimLeft(string(runes[i:]), " ")
		}
	}
	return line, ""
}
