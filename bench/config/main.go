// Command config measures how long a large configuration takes to load: `envexec check
// --offline` beside `vault agent -test-verify-only` on the same file, taking turns.
//
//	make bench-config
package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"
)

func main() {
	envexec := flag.String("envexec", "bin/envexec", "`program` to measure")
	vault := flag.String("vault", "bin/vault", "`program` to compare with")
	out := flag.String("out", "", "`page` to write")
	flag.Parse()
	kept, err := measure(*envexec, *vault, *out)
	if err != nil {
		fmt.Fprintf(os.Stderr, "bench failed: %v\n", err)
		os.Exit(1)
	}
	if !kept {
		os.Exit(1)
	}
}

const body = "{{ with secret \"secret/data/app/%d\" }}\npassword = \"{{ .Data.data.password }}\"\n{{ end }}\n"

func hclFile(n int) []byte {
	var b bytes.Buffer
	b.WriteString("auto_auth {\n  method \"cert\" { }\n}\n")
	for i := range n {
		fmt.Fprintf(&b, "template {\n  destination = \"/run/app/%d\"\n  perms = \"0640\"\n  contents = <<EOT\n"+body+"EOT\n}\n", i, i)
	}
	return b.Bytes()
}

func jsonFile(n int) ([]byte, error) {
	var templates []map[string]string
	for i := range n {
		templates = append(templates, map[string]string{"destination": fmt.Sprintf("/run/app/%d", i), "perms": "0640", "contents": fmt.Sprintf(body, i)})
	}
	return json.MarshalIndent(map[string]any{"auto_auth": map[string]any{"method": []any{map[string]any{"type": "cert"}}}, "template": templates}, "", "  ")
}

type row struct {
	format       string
	templates    int
	size         int
	ours, theirs time.Duration
}

func measure(envexec, vault, out string) (kept bool, err error) {
	dir, err := os.MkdirTemp("", "bench-config")
	if err != nil {
		return false, err
	}
	defer os.RemoveAll(dir)
	var rows []row
	for _, format := range []string{"hcl", "json"} {
		for _, n := range []int{1_000, 10_000, 100_000} {
			text := hclFile(n)
			if format == "json" {
				if text, err = jsonFile(n); err != nil {
					return false, err
				}
			}
			file := filepath.Join(dir, "a."+format)
			if err := os.WriteFile(file, text, 0o600); err != nil {
				return false, err
			}
			r := row{format: strings.ToUpper(format), templates: n, size: len(text)}
			var ours, theirs []time.Duration
			for range 3 {
				a, err := timed(envexec, "check", "--offline", "--config", file)
				if err != nil {
					return false, err
				}
				b, err := timed(vault, "agent", "-config="+file, "-test-verify-only")
				if err != nil {
					return false, err
				}
				ours, theirs = append(ours, a), append(theirs, b)
			}
			r.ours, r.theirs = median(ours), median(theirs)
			fmt.Printf("%s %d: %s, %s\n", r.format, n, r.ours, r.theirs)
			rows = append(rows, r)
		}
	}
	page, kept := report(rows)
	if out != "" {
		err = os.WriteFile(out, page, 0o644) //nolint:gosec // a page of the documentation
	}
	return kept, err
}

func timed(name string, args ...string) (time.Duration, error) {
	begin := time.Now()
	if said, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		return 0, fmt.Errorf("%s %s: %w\n%s", name, strings.Join(args, " "), err, said)
	}
	return time.Since(begin), nil
}

func median(list []time.Duration) time.Duration {
	slices.Sort(list)
	return list[len(list)/2]
}

func report(rows []row) (page []byte, kept bool) {
	var b bytes.Buffer
	b.WriteString(`# Loading a configuration

Written by ` + "`make bench-config`" + `: ` + "`envexec check --offline`" + ` and ` + "`vault agent -test-verify-only`" + ` take turns on a file of that many ` + "`template`" + ` stanzas;
medians of three, from the start of the process to its end. Hostile files take linear time too:
` + "`go test ./config -run TestLinearTime`" + ` gives thirty kinds of them at two sizes and compares the processor time.

`)
	fmt.Fprintf(&b, "Taken %s with %s on %d cores.\n\n", time.Now().UTC().Format(time.DateOnly), runtime.Version(), runtime.NumCPU())
	b.WriteString("| Format | Templates | Size | envexec | vault agent | ratio | per template | must be | kept |\n|---|---|---|---|---|---|---|---|---|\n")
	kept = true
	for _, r := range rows {
		must, ok := "–", true
		if r.templates == 10_000 {
			must, ok = "at most 1 s", r.ours <= time.Second
		}
		kept = kept && ok
		fmt.Fprintf(&b, "| %s | %d | %.1f MB | %d ms | %d ms | %.2f times | %.1f µs | %s | %s |\n", r.format, r.templates, float64(r.size)/1e6,
			r.ours.Milliseconds(), r.theirs.Milliseconds(), float64(r.ours)/float64(r.theirs), float64(r.ours.Microseconds())/float64(r.templates),
			must, map[bool]string{true: "yes", false: "no"}[ok])
	}
	return b.Bytes(), kept
}
