package config

import (
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"
)

var words = []Word{Check, Render, Init, Proxy, Status, Reload, Service, Version}

// commandLine is args taken apart, values still as text.
type commandLine struct {
	word    Word
	words   []string
	program []string
	flags   map[string][]string // by option name, in order
}

func (c commandLine) has(name string) bool { return len(c.flags[name]) > 0 }

func (c commandLine) on(name string) bool {
	v := c.flags[name]
	if len(v) == 0 {
		return false
	}
	b, _ := parseBool(v[len(v)-1])
	return b
}

// splitArgs cuts args at the first --, before any flag parser sees what belongs to
// the program.
func splitArgs(args []string) (ours, program []string, cut bool) {
	if i := slices.Index(args, "--"); i >= 0 {
		return args[:i], args[i+1:], true
	}
	return args, nil, false
}

// parseArgs reads the command line. Flags may stand before and after the command word.
func parseArgs(args []string, opts []option) (commandLine, error) {
	ours, program, cut := splitArgs(args)
	line := commandLine{program: program, flags: map[string][]string{}}
	var operands []string
	for {
		rest, err := parseFlags(ours, opts, line.flags)
		if err != nil {
			return line, usage(err, opts)
		}
		if len(rest) == 0 {
			break
		}
		operands = append(operands, rest[0])
		ours = rest[1:]
	}
	if len(operands) > 0 {
		line.word, line.words = Word(operands[0]), operands[1:]
		if line.word == everything && line.on("help") {
			return line, nil
		}
		if !slices.Contains(words, line.word) {
			return line, noCommand(operands, cut)
		}
		takes := line.word == Service || line.word == Init
		if len(line.words) > 0 && !takes {
			return line, &UsageError{Message: fmt.Sprintf("%s takes no argument %q", line.word, line.words[0])}
		}
	}
	if cut && len(program) == 0 {
		return line, &UsageError{Message: "no program after --", Hint: "write envexec [flags] -- PROGRAM [ARGS]"}
	}
	if cut && program[0] == "" {
		return line, &UsageError{Message: "the program's name is empty"}
	}
	return line, nil
}

// noCommand explains a word that is none of ours: probably the program without --.
func noCommand(operands []string, cut bool) error {
	var names []string
	for _, w := range words {
		names = append(names, string(w))
	}
	written := "envexec -- " + strings.Join(operands, " ")
	hint := fmt.Sprintf("did you mean `%s`?", written)
	n, write := nearest(operands[0], names), foreignWords[operands[0]]
	switch {
	case write != "" && cut:
		hint = write
	case write != "":
		hint = fmt.Sprintf("%s, or `%s` if it is the program", write, written)
	case n != "" && cut:
		hint = fmt.Sprintf("did you mean `envexec %s`?", n)
	case n != "":
		hint = fmt.Sprintf("did you mean `envexec %s` or `%s`?", n, written)
	case cut:
		hint = "flags stand before --, the program behind it"
	}
	return &UsageError{Message: fmt.Sprintf("%q is no command of envexec", operands[0]), Hint: hint}
}

// recorder notes each mention of a flag; what it means is decided once all are known.
type recorder struct {
	o     option
	flags map[string][]string
}

// Set implements flag.Value.
func (r recorder) Set(text string) error {
	if r.o.arg == "" {
		if _, err := parseBool(text); err != nil {
			return err
		}
	}
	r.flags[r.o.name] = append(r.flags[r.o.name], text)
	return nil
}

// String implements flag.Value.
func (r recorder) String() string { return "" }

// IsBoolFlag tells the flag package that a switch takes no value.
func (r recorder) IsBoolFlag() bool { return r.o.arg == "" }

// parseFlags reads the flags in front and returns the rest, which begins with an operand.
func parseFlags(args []string, opts []option, into map[string][]string) ([]string, error) {
	var rest []string
	app := &cli.App{
		Name:                      "envexec",
		HideHelp:                  true,
		HideHelpCommand:           true,
		HideVersion:               true,
		Compiled:                  time.Unix(0, 0), // else cli asks the file system for our own age
		DisableSliceFlagSeparator: true,
		Writer:                    io.Discard,
		ErrWriter:                 io.Discard,
		ExitErrHandler:            func(*cli.Context, error) {}, // else cli ends the process by itself
		OnUsageError:              func(_ *cli.Context, err error, _ bool) error { return err },
		Action: func(c *cli.Context) error {
			rest = c.Args().Slice()
			return nil
		},
	}
	mentioned := map[string]bool{}
	for _, a := range args {
		name, _, _ := strings.Cut(strings.TrimLeft(a, "-"), "=")
		mentioned[name] = true
	}
	for _, o := range opts {
		// cli compiles a regular expression for each flag it knows: 8 ms for all of ours.
		if !mentioned[o.name] && !mentioned[o.short] {
			continue
		}
		app.Flags = append(app.Flags, &cli.GenericFlag{Name: o.name, Value: recorder{o, into}})
		if o.short != "" { // not an alias: cli sets a flag again through its other names
			app.Flags = append(app.Flags, &cli.GenericFlag{Name: o.short, Value: recorder{o, into}})
		}
	}
	err := app.Run(append([]string{"envexec"}, args...))
	return rest, err
}

// badSwitch is how the flag package passes on what a switch said about its value.
var badSwitch = regexp.MustCompile(`(?s)^invalid boolean value .* for -([a-z-]+): (.*)$`)

// dashed is a flag as it is written: one dash before a single letter.
func dashed(name string) string {
	if len(name) == 1 {
		return "-" + name
	}
	return "--" + name
}

// usage turns the flag package's errors into ours, with the nearest flag.
func usage(err error, opts []option) error {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		var names []string
		for _, o := range opts {
			names = append(names, o.name)
		}
		u := &UsageError{Message: "unknown flag " + dashed(strings.TrimPrefix(name, "-"))}
		name = strings.TrimPrefix(name, "-")
		u.Hint = "envexec --help all lists them"
		if n := nearest(name, names); n != "" {
			u.Hint = fmt.Sprintf("did you mean --%s?", n)
		}
		if write := foreignFlags[name]; write != "" {
			u.Hint = write
		}
		return u
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		return &UsageError{Message: dashed(strings.TrimPrefix(name, "-")) + " needs a value"}
	}
	if m := badSwitch.FindStringSubmatch(text); m != nil {
		return &UsageError{Message: fmt.Sprintf("%s: %s", dashed(m[1]), m[2])}
	}
	var u *UsageError
	if errors.As(err, &u) {
		return u
	}
	return &UsageError{Message: text}
}
