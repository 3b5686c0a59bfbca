package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/envexec/envexec/environ"
)

// expand lists the configuration files behind the --config paths: a file is itself, a
// directory its .hcl and .json files by name.
func (r *report) expand(paths []string) []string {
	var files []string
	for _, p := range paths {
		info, err := os.Stat(r.at(p))
		if err != nil {
			r.fail(Position{File: p}, "", reason(err), "")
			continue
		}
		if !info.IsDir() {
			files = append(files, p)
			continue
		}
		entries, err := os.ReadDir(r.at(p)) // sorted by name
		if err != nil {
			r.fail(Position{File: p}, "", reason(err), "")
			continue
		}
		before := len(files)
		for _, e := range entries {
			file := filepath.Join(p, e.Name())
			if e.IsDir() || !isConfigName(e.Name()) {
				continue
			}
			if info, err := os.Stat(r.at(file)); err == nil && info.Mode()&(fs.ModeNamedPipe|fs.ModeDevice|fs.ModeSocket) != 0 {
				r.fail(Position{File: file}, "", "is no regular file", "name it with --config if it is meant") // reading it may never end
				before--
				continue
			}
			files = append(files, file)
		}
		if len(files) == before { // a mount that is missing would start the program without its secrets
			r.doubt(Position{File: p}, "", "the directory has no .hcl or .json file", "")
		}
	}
	return files
}

func isConfigName(name string) bool {
	hidden := strings.HasSuffix(name, "~") || strings.HasPrefix(name, ".#") || strings.HasPrefix(name, "#") && strings.HasSuffix(name, "#")
	return !hidden && (strings.HasSuffix(name, ".hcl") || strings.HasSuffix(name, ".json"))
}

// reason is an error without the path, which the message names already.
func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return fmt.Sprintf("cannot %s: %v", p.Op, p.Err)
	}
	return err.Error()
}

func newDecoder(env environ.Environ) *decoder {
	return &decoder{origins: map[any]string{}, blocks: map[string]Position{}, opened: map[string]stanza{}, stood: map[string]bool{}, env: env}
}

// readFiles decodes every file into c, later ones over earlier ones.
func (d *decoder) readFiles(c *Config, files []string) {
	for _, file := range files {
		src, err := d.readAll(file)
		if err != nil {
			d.fail(Position{File: file}, "", reason(err), "")
			continue
		}
		d.readFile(c, file, src)
	}
}

// giveWay lets what Vault's exec stanza says hold where the change and stop stanzas are silent.
func (d *decoder) giveWay(c *Config) {
	for _, give := range []struct{ from, to *string }{{&c.execPolicy, &c.Change.Policy}, {&c.execSignal, &c.Stop.Signal}} {
		if at := d.origins[give.from]; at != "" && d.origins[give.to] == "" {
			*give.to, d.origins[give.to] = *give.from, at
		}
	}
}

// at is where a file is that is named relative to the directory at the start.
func (r *report) at(file string) string {
	if filepath.IsAbs(file) {
		return file
	}
	return filepath.Join(r.dir, file)
}

// readAll reads one byte more than a configuration may have, whatever file is.
func (r *report) readAll(file string) ([]byte, error) {
	f, err := os.Open(r.at(file))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFileSize+1))
}

func (d *decoder) readFile(c *Config, file string, src []byte) {
	b, err := d.parseFile(file, src)
	if err != nil {
		d.failErr(file, err)
		return
	}
	keep := sticky(c)
	d.set = map[string]Position{}
	d.top = root(c)
	d.body(b, d.top)
	keep()
}

// sticky returns a function that puts back what a later file's empty or false value does
// not undo.
func sticky(c *Config) func() {
	was := *c
	return func() {
		c.Start.ExitAfterAuth = c.Start.ExitAfterAuth || was.Start.ExitAfterAuth
		for _, s := range []struct {
			now    *string
			before string
		}{{&c.PIDFile, was.PIDFile}, {&c.Log.File, was.Log.File}} {
			if *s.now == "" {
				*s.now = s.before
			}
		}
		c.Vault.DisableIdle = union(was.Vault.DisableIdle, c.Vault.DisableIdle)
		c.Vault.DisableKeepAlives = union(was.Vault.DisableKeepAlives, c.Vault.DisableKeepAlives)
	}
}

func union(a, b []string) []string {
	var all []string
	has := map[string]bool{"": true}
	for _, s := range slices.Concat(a, b) {
		if !has[s] {
			has[s] = true
			all = append(all, s)
		}
	}
	return all
}

// readEnvFile parses NAME=VALUE lines: comments, a leading export, and quotes; double
// quotes may hold \n, \t, \", \\ and line ends, single quotes are taken as they are.
func readEnvFile(file string, src []byte) (environ.Environ, map[string]string, error) {
	src = bytes.TrimPrefix(src, []byte("\xef\xbb\xbf"))
	text := strings.ReplaceAll(string(src), "\r\n", "\n")
	vars, places := map[string]string{}, map[string]string{}
	for line := 1; text != ""; {
		raw, rest, _ := strings.Cut(text, "\n")
		start := line
		s := strings.TrimSpace(raw)
		s = strings.TrimSpace(strings.TrimPrefix(s, "export "))
		if s == "" || s[0] == '#' {
			text, line = rest, line+1
			continue
		}
		pos := Position{File: file, Line: start, Column: 1}
		name, value, ok := strings.Cut(s, "=")
		if name = strings.TrimSpace(name); !ok || name == "" || strings.ContainsAny(name, " \t\"'") {
			return environ.Environ{}, nil, Problem{Pos: pos, Message: "not NAME=VALUE"}
		}
		value = strings.TrimSpace(value)
		whole := text
		text, line = rest, line+1
		if value != "" && (value[0] == '"' || value[0] == '\'') {
			_, body, _ := strings.Cut(raw, "=")
			_, body, _ = strings.Cut(body, value[:1])
			behind := whole[len(raw)-len(body):] // with the spaces at the lines' ends
			v, tail, closed := unquote(behind, value[0])
			if !closed {
				return environ.Environ{}, nil, Problem{Pos: pos, Message: fmt.Sprintf("%s: quote is never closed", name)}
			}
			line += strings.Count(behind[:len(behind)-len(tail)], "\n")
			tail, text, _ = strings.Cut(tail, "\n")
			if tail = strings.TrimSpace(tail); tail != "" && tail[0] != '#' {
				return environ.Environ{}, nil, Problem{Pos: pos, Message: fmt.Sprintf("%s: text after the closing quote", name)}
			}
			value = v
		} else if i := strings.Index(value, " #"); i >= 0 {
			value = strings.TrimSpace(value[:i])
		}
		vars[name] = value
		places[name] = pos.String()
	}
	return environ.FromMap(vars), places, nil
}

// unquote reads up to the closing quote and returns what stands behind it.
func unquote(s string, quote byte) (value, tail string, closed bool) {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch c := s[i]; {
		case c == quote:
			return b.String(), s[i+1:], true
		case c == '\\' && quote == '"' && i+1 < len(s):
			i++
			switch s[i] {
			case 'n':
				b.WriteByte('\n')
			case 't':
				b.WriteByte('\t')
			case 'r':
				b.WriteByte('\r')
			case '"', '\\', '$', '`':
				b.WriteByte(s[i])
			default:
				b.WriteByte('\\')
				b.WriteByte(s[i])
			}
		default:
			b.WriteByte(c)
		}
	}
	return "", "", false
}
