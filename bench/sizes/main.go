// sizes writes how much of the binary each dependency is: code and data of its symbols.
//
//	go run ./bench/sizes -out docs/sizes.md
package main

import (
	"bufio"
	"bytes"
	"cmp"
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

func main() {
	out := flag.String("out", "", "write the page here instead of to standard output")
	flag.Parse()
	page, err := measure()
	if err == nil && *out != "" {
		err = os.WriteFile(*out, page, 0o644)
	} else if err == nil {
		_, err = os.Stdout.Write(page)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sizes:", err)
		os.Exit(1)
	}
}

const tags = "urfave_cli_no_docs"

func measure() ([]byte, error) {
	dir, err := os.MkdirTemp("", "sizes")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	stripped, named := filepath.Join(dir, "stripped"), filepath.Join(dir, "named")
	for path, flags := range map[string]string{stripped: "-s -w", named: "-w"} {
		if _, err := run("go", "build", "-tags", tags, "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", path, "."); err != nil {
			return nil, err
		}
	}
	info, err := os.Stat(stripped)
	if err != nil {
		return nil, err
	}
	modules, err := modulesOf(named)
	if err != nil {
		return nil, err
	}
	sizes, err := symbolSizes(named, modules)
	if err != nil {
		return nil, err
	}
	return render(info, modules, sizes), nil
}

func run(name string, args ...string) ([]byte, error) {
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	out, err := cmd.Output()
	if exit := (*exec.ExitError)(nil); errors.As(err, &exit) {
		err = fmt.Errorf("%s %s: %w\n%s", name, args[0], err, exit.Stderr)
	}
	return out, err
}

// modulesOf returns the versions of the modules in the binary, by path.
func modulesOf(binary string) (map[string]string, error) {
	text, err := run("go", "version", "-m", binary)
	if err != nil {
		return nil, err
	}
	modules := map[string]string{}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) >= 3 && f[0] == "dep" {
			modules[f[1]] = f[2]
		}
	}
	return modules, nil
}

// symbolSizes sums the symbols of code and data by module; "" is the rest: Go itself.
func symbolSizes(binary string, modules map[string]string) (map[string]int, error) {
	text, err := run("go", "tool", "nm", "-size", binary)
	if err != nil {
		return nil, err
	}
	sizes := map[string]int{}
	for lines := bufio.NewScanner(bytes.NewReader(text)); lines.Scan(); {
		f := strings.Fields(lines.Text())
		if len(f) < 4 || !strings.ContainsAny(f[2], "TtRrDd") {
			continue
		}
		n, err := strconv.Atoi(f[1])
		if err != nil {
			continue
		}
		sizes[moduleOf(f[3], modules)] += n
	}
	return sizes, nil
}

// moduleOf finds the longest module path a symbol's name holds at its beginning, or
// behind the marks of types, interface tables and closures.
func moduleOf(symbol string, modules map[string]string) string {
	symbol = strings.ReplaceAll(symbol, "%2e", ".")
	for _, mark := range []string{"type:.eq.", "type:.hash.", "type:", "go:itab."} {
		symbol = strings.TrimPrefix(symbol, mark)
	}
	symbol = strings.TrimLeft(symbol, "*[]")
	best := ""
	for m := range modules {
		if strings.HasPrefix(symbol, m) && len(m) > len(best) {
			best = m
		}
	}
	return best
}

func render(info fs.FileInfo, modules map[string]string, sizes map[string]int) []byte {
	type row struct {
		module string
		size   int
	}
	var rows []row
	for m := range modules {
		rows = append(rows, row{m, sizes[m]})
	}
	slices.SortFunc(rows, func(a, b row) int { return cmp.Or(cmp.Compare(b.size, a.size), cmp.Compare(a.module, b.module)) })
	var b bytes.Buffer
	fmt.Fprintf(&b, "# What the binary is made of\n\nMade by `go run ./bench/sizes -out docs/sizes.md`; do not edit. linux/amd64, stripped: %.1f MB. A dependency's size is that of the code and data of its own symbols;\n"+
		"the rest is envexec, Go's library and runtime, and the tables Go keeps about all of them.\n\n| Dependency | Version | kB |\n|---|---|---|\n", float64(info.Size())/1e6)
	for _, r := range rows {
		fmt.Fprintf(&b, "| `%s` | %s | %.0f |\n", r.module, modules[r.module], float64(r.size)/1000)
	}
	return b.Bytes()
}
