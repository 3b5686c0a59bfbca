package config

import (
	"fmt"
	"strings"
)

// HelpText is what --help prints: grouped, one line a flag.
func HelpText(word Word) string {
	var b strings.Builder
	b.WriteString(`Run a program with secrets from Vault.

  envexec [flags] -- PROGRAM [ARGS]
  envexec COMMAND [flags]

Commands:
`)
	for _, c := range Commands() {
		fmt.Fprintf(&b, "  %-38s %s\n", c.Name, c.Usage)
	}
	b.WriteByte('\n')
	group := ""
	for _, f := range Flags() {
		if f.Hidden {
			continue
		}
		if f.Group != group {
			group = f.Group
			fmt.Fprintf(&b, "%s:\n", group)
		}
		fmt.Fprintf(&b, "  %-38s %s\n", f.Spelling(), f.Usage)
	}
	b.WriteString("\nEvery flag has a variable: --stop-timeout is ENVEXEC_STOP_TIMEOUT. VAULT_… variables mean what they mean to vault.\n")
	return b.String()
}

// Flag is one flag, for documentation.
type Flag struct {
	Name, Short string
	Arg         string   // "" = a switch
	Env         []string // its variables, the strongest first
	Usage       string
	Group       string
	Hidden      bool // documented, but not in --help
	Repeats     bool
}

// Spelling is the flag as one writes it.
func (f Flag) Spelling() string {
	s := "--" + f.Name
	if f.Short != "" {
		s = "-" + f.Short + ", " + s
	}
	if f.Arg != "" {
		s += " " + f.Arg
	}
	return s
}

// Flags lists all flags in the order of the help text.
func Flags() []Flag {
	var all []Flag
	for _, o := range options(defaults(), &loginFlags{}) {
		all = append(all, Flag{Name: o.name, Short: o.short, Arg: o.arg, Env: variables(o), Usage: o.usage, Group: o.group, Hidden: o.hidden, Repeats: o.repeats()})
	}
	return all
}

// Command is one of envexec's own words.
type Command struct{ Name, Usage string }

// Commands lists the words in the order of the help text.
func Commands() []Command {
	return []Command{
		{"check", "look at everything a start needs and change nothing"},
		{"render", "print what the program would get"},
		{"init", "write a starter configuration from what is in Vault"},
		{"proxy", "serve Vault's API without a program"},
		{"status", "show a running envexec's phase and secrets"},
		{"reload", "have a running envexec read its configuration anew"},
		{"version", "print the version"},
	}
}
