package config

import (
	"fmt"
	"slices"
	"strings"
)

var shells = []string{"bash", "zsh", "fish", "powershell"}

// completion answers --completion SHELL with a script, made from the flags there are.
func completion(asked []string) (*Config, error) {
	shell := asked[len(asked)-1]
	if !slices.Contains(shells, shell) {
		return nil, &UsageError{Message: fmt.Sprintf("no completion for %q", shell), Hint: choose(shell, shells)}
	}
	script := map[string]func() string{"bash": bashScript, "zsh": zshScript, "fish": fishScript, "powershell": powershellScript}[shell]
	return &Config{Word: Completion, Words: []string{script()}}, nil
}

// choices are the values a flag can be completed to; of some with more behind them the
// beginning.
func (f Flag) choices() []string {
	switch f.Name {
	case "auth":
		return methodNames()
	case "log-level":
		return []string{"trace", "debug", "info", "warn", "error"}
	case "format":
		return []string{"text", "json", "names", "env", "dotenv", "github", "gitlab"}
	case "on-change":
		return []string{"restart", "overlap", "signal", "hook:", "exit", "none"}
	case "ready":
		return []string{"notify", "fd:", "exec:", "tcp:", "http:", "delay:", "none"}
	case "restart":
		return conditions
	case "admin":
		return []string{"auto", "off"}
	}
	if f.Arg == strings.ToLower(f.Arg) && strings.Contains(f.Arg, "|") {
		return strings.Split(f.Arg, "|")
	}
	return nil
}

// files reports whether a flag takes a file or directory: paths of secrets are none.
func (f Flag) files() bool {
	return f.Arg == "FILE" || f.Arg == "DIR" || f.Name == "config"
}

func commandNames() []string {
	var list []string
	for _, c := range Commands() {
		list = append(list, c.Name)
	}
	return list
}

func flagList() []string {
	var list []string
	for _, f := range Flags() {
		list = append(list, "--"+f.Name)
	}
	return list
}

// bashScript leaves everything behind -- to the program's own completion.
func bashScript() string {
	var values, files, others []string
	for _, f := range Flags() {
		switch {
		case f.Arg == "":
		case len(f.choices()) > 0:
			values = append(values, fmt.Sprintf("    --%s) words='%s' ;;\n", f.Name, strings.Join(f.choices(), " ")))
		case f.files():
			files = append(files, "--"+f.Name)
		default:
			others = append(others, "--"+f.Name)
		}
	}
	return fmt.Sprintf(`# bash completion for envexec: source <(envexec --completion bash)
_envexec() {
  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words i
  for ((i = 1; i < COMP_CWORD; i++)); do
    if [[ ${COMP_WORDS[i]} == -- ]]; then
      if ((i + 1 == COMP_CWORD)); then
        COMPREPLY=($(compgen -c -- "$cur"))
      elif declare -F _command_offset >/dev/null; then
        _command_offset $((i + 1))
      fi
      return
    fi
  done
  if [[ $cur == = ]]; then # bash takes --flag=value apart
    cur=
  elif [[ $prev == = ]]; then
    prev=${COMP_WORDS[COMP_CWORD-2]}
  fi
  case $prev in
%s    %s) COMPREPLY=($(compgen -f -- "$cur")); return ;;
    %s) return ;;
    *) if [[ $cur == -* ]]; then words='%s --'; else words='%s'; fi ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$cur"))
}
complete -o default -F _envexec envexec
`, strings.Join(values, ""), strings.Join(files, "|"), strings.Join(others, "|"), strings.Join(flagList(), " "), strings.Join(commandNames(), " "))
}

func zshScript() string {
	quote := strings.NewReplacer("'", `'\''`, "[", `\[`, "]", `\]`, ":", `\:`)
	var b strings.Builder
	b.WriteString(`#compdef envexec
# zsh completion for envexec, after compinit: source <(envexec --completion zsh)
_envexec() {
  local program=${words[(i)--]}
  if ((program < CURRENT)); then
    shift program words
    ((CURRENT -= program))
    _normal
    return
  fi
  _arguments \
`)
	for _, f := range Flags() {
		many, equals, arg := "", "", ""
		if f.Repeats {
			many = "*"
		}
		if f.Arg != "" {
			equals = "="
		}
		switch {
		case f.Arg == "":
		case len(f.choices()) > 0:
			var list []string
			for _, c := range f.choices() {
				list = append(list, quote.Replace(c))
			}
			arg = fmt.Sprintf(":%s:(%s)", f.Name, strings.Join(list, " "))
		case f.files():
			arg = ":file:_files"
		default:
			arg = ":" + quote.Replace(f.Arg) + ":"
		}
		fmt.Fprintf(&b, "    '%s--%s%s[%s]%s' \\\n", many, f.Name, equals, quote.Replace(f.Usage), arg)
	}
	var commands []string
	for _, c := range Commands() {
		commands = append(commands, fmt.Sprintf(`%s\:"%s"`, c.Name, quote.Replace(c.Usage)))
	}
	fmt.Fprintf(&b, "    '1:command:((%s))'\n}\ncompdef _envexec envexec\n", strings.Join(commands, " "))
	return b.String()
}

func fishScript() string {
	quote := strings.NewReplacer(`\`, `\\`, "'", `\'`)
	var b strings.Builder
	b.WriteString(`# fish completion for envexec: envexec --completion fish | source
function __envexec_program
    contains -- -- (commandline -opc)
end
function __envexec_complete_program
    set -l words (commandline -opc) (commandline -ct)
    set -l at (contains -i -- -- $words)
    set -e words[1..$at]
    complete -C (string join ' ' -- $words)
end
complete -c envexec -f
complete -c envexec -n __envexec_program -a '(__envexec_complete_program)'
`)
	for _, c := range Commands() {
		fmt.Fprintf(&b, "complete -c envexec -n 'not __envexec_program; and __fish_use_subcommand' -a %s -d '%s'\n", c.Name, quote.Replace(c.Usage))
	}
	for _, f := range Flags() {
		fmt.Fprintf(&b, "complete -c envexec -n 'not __envexec_program' -l %s -d '%s'", f.Name, quote.Replace(f.Usage))
		if f.Short != "" {
			b.WriteString(" -s " + f.Short)
		}
		switch {
		case f.Arg == "":
		case len(f.choices()) > 0:
			fmt.Fprintf(&b, " -x -a '%s'", strings.Join(f.choices(), " "))
		case f.files():
			b.WriteString(" -r -F")
		default:
			b.WriteString(" -x")
		}
		b.WriteString("\n")
	}
	return b.String()
}

// powershellScript completes nothing where a file or a free text belongs and behind --:
// PowerShell completes file names then.
func powershellScript() string {
	var values strings.Builder
	var others []string
	for _, f := range Flags() {
		switch {
		case f.Arg == "":
		case len(f.choices()) > 0:
			fmt.Fprintf(&values, "    '--%s' = %s\n", f.Name, powershellList(f.choices()))
		default:
			others = append(others, "--"+f.Name)
		}
	}
	all := append(append(commandNames(), string(Service)), flagList()...)
	return fmt.Sprintf(`# PowerShell completion for envexec: envexec --completion powershell | Out-String | Invoke-Expression
Register-ArgumentCompleter -Native -CommandName 'envexec' -ScriptBlock {
  param($word, $ast, $position)
  $before = @($ast.CommandElements | Where-Object { $_.Extent.EndOffset -lt $position } | ForEach-Object { $_.ToString() })
  if ($before -contains '--') { return }
  $values = @{
%s  }
  $others = %s
  $words = %s
  $prefix = ''
  $last = ''
  if ($before.Count -gt 0) { $last = $before[-1] }
  $text = "$word"
  if ($text -match '^(--[a-z-]+)=(.*)$') {
    $last = $Matches[1]
    $prefix = $last + '='
    $text = $Matches[2]
  }
  if ($values.ContainsKey($last)) { $words = $values[$last] }
  elseif ($prefix -or $others -contains $last) { return }
  $words | Where-Object { $_.StartsWith($text, [StringComparison]::OrdinalIgnoreCase) } | ForEach-Object {
    [System.Management.Automation.CompletionResult]::new($prefix + $_, $_, 'ParameterValue', $_)
  }
}
`, values.String(), powershellList(others), powershellList(all))
}

// powershellList writes an array of literal strings: between single quotes only a single
// quote has a meaning, and two of them are one.
func powershellList(words []string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = "'" + strings.ReplaceAll(w, "'", "''") + "'"
	}
	return "@(" + strings.Join(quoted, ", ") + ")"
}
