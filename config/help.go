package config

import (
	"fmt"
	"slices"
	"strings"
)

// everything is the word behind --help that asks for every flag.
const everything Word = "all"

const flagLine = "  %-36s %s\n"

// HelpText is what --help prints: the common flags, grouped, one line each; behind the
// word all every flag, behind a command what is its own.
func HelpText(word Word) string {
	var b strings.Builder
	if word != Run && word != everything {
		commandHelp(&b, word)
		return b.String()
	}
	b.WriteString("Run a program with secrets from Vault.\n\n  envexec [flags] -- PROGRAM [ARGS]\n  envexec COMMAND [flags]\n\nCommands:\n")
	for _, c := range Commands() {
		fmt.Fprintf(&b, "  %-10s %s\n", c.Name, c.Usage)
	}
	group := ""
	for _, f := range Flags() {
		if word == Run && !f.Common {
			continue
		}
		if f.Group != group {
			group = f.Group
			fmt.Fprintf(&b, "%s:\n", group)
		}
		fmt.Fprintf(&b, flagLine, f.Spelling(), f.Usage)
	}
	b.WriteString("\nEvery flag has a variable: --stop-timeout is ENVEXEC_STOP_TIMEOUT.\nVAULT_… variables mean what they mean to vault.\n")
	if word == Run {
		b.WriteString("All flags: envexec --help all. A command's: envexec COMMAND --help.\n")
	}
	return b.String()
}

func commandHelp(b *strings.Builder, word Word) {
	operands, takesAll := map[Word]string{Init: " [PATH…]", Service: " VERB", Check: " [-- PROGRAM [ARGS]]"}[word], word != Status && word != Reload && word != Version
	for _, c := range Commands() {
		if c.Name == string(word) {
			fmt.Fprintf(b, "%s%s.\n\n", strings.ToUpper(c.Usage[:1]), c.Usage[1:])
		}
	}
	fmt.Fprintf(b, "  envexec %s [flags]%s\n\n", word, operands)
	if own := flagsOf(word); len(own) > 0 {
		b.WriteString("Flags:\n")
		for _, f := range own {
			fmt.Fprintf(b, flagLine, f.Spelling(), f.Usage)
		}
	}
	if takesAll {
		b.WriteString("\nThe flags of a run count too: envexec --help all.\n")
	}
}

func flagsOf(word Word) []Flag {
	var own []Flag
	for _, f := range Flags() {
		if slices.Contains(f.Of, word) {
			own = append(own, f)
		}
	}
	return own
}

// Flag is one flag, for documentation.
type Flag struct {
	Name, Short string
	Arg         string   // "" = a switch
	Env         []string // its variables, the strongest first
	Usage       string
	Group       string
	Hidden      bool   // rare: not in the README's table
	Common      bool   // in the short help
	Of          []Word // the commands it is for; nil = the run and most of them
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
		all = append(all, Flag{Name: o.name, Short: o.short, Arg: o.arg, Env: variables(o), Usage: o.usage, Group: o.group, Hidden: o.hidden, Common: o.common, Of: o.of, Repeats: o.repeats()})
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
