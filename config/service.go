package config

import (
	"fmt"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// ServiceOptions are the operands and flags of envexec service.
type ServiceOptions struct {
	Verb    string   // install, uninstall, start, stop or status
	Name    string   // of the service, default envexec
	Account string   // install: whom it runs as; "" = its own virtual account, NT SERVICE\Name
	Args    []string // install: what envexec is to be started with then, paths made absolute
}

var serviceVerbs = []string{"install", "uninstall", "start", "stop", "status"}

// serviceOnly are the flags that are not handed on to the installed service.
var serviceOnly = []string{"name", "account"}

// service reads envexec service VERB. What install hands on is not judged here.
func service(line commandLine, opts []option) (*Config, error) {
	s := ServiceOptions{Name: "envexec"}
	if len(line.words) != 1 || !slices.Contains(serviceVerbs, line.words[0]) {
		return nil, &UsageError{Message: "envexec service wants one of " + strings.Join(serviceVerbs, ", ")}
	}
	s.Verb = line.words[0]
	last := func(name string, to *string) {
		if v := line.flags[name]; len(v) > 0 {
			*to = v[len(v)-1]
		}
	}
	last("name", &s.Name)
	last("account", &s.Account)
	if s.Name == "" || len(s.Name) > 256 || strings.ContainsAny(s.Name, `/\`) {
		return nil, &UsageError{Message: fmt.Sprintf("%q is no name of a service: 1 to 256 characters without slashes", s.Name)}
	}
	args, err := handedOn(line, opts)
	if err != nil {
		return nil, err
	}
	if s.Verb != "install" {
		if len(args) > 0 {
			return nil, &UsageError{Message: fmt.Sprintf("envexec service %s takes no flag but --name", s.Verb)}
		}
		return &Config{Word: Service, Service: s}, nil
	}
	s.Args = args
	return &Config{Word: Service, Service: s}, nil
}

// handedOn is the command line of the installed service. A service starts in another
// directory than the one that paths were written for.
func handedOn(line commandLine, opts []option) ([]string, error) {
	var args []string
	for _, o := range opts {
		if slices.Contains(serviceOnly, o.name) {
			continue
		}
		for _, text := range line.flags[o.name] {
			if o.arg == "" {
				on, err := parseBool(text)
				if err != nil {
					return nil, &UsageError{Message: fmt.Sprintf("--%s: %v", o.name, err)}
				}
				text = strconv.FormatBool(on)
			}
			path, rest, assigned := text, "", false
			switch {
			case o.name == "file":
				path, rest, assigned = strings.Cut(text, "=")
			case o.arg != "FILE" && o.arg != "DIR" && o.name != "config":
				args = append(args, "--"+o.name+"="+text)
				continue
			}
			path, err := filepath.Abs(path)
			if err != nil {
				return nil, err
			}
			if assigned {
				path += "=" + rest
			}
			args = append(args, "--"+o.name+"="+path)
		}
	}
	if len(line.program) == 0 {
		return args, nil
	}
	program := slices.Clone(line.program)
	if filepath.Base(program[0]) != program[0] {
		path, err := filepath.Abs(program[0])
		if err != nil {
			return nil, err
		}
		program[0] = path
	}
	return append(append(args, "--"), program...), nil
}
