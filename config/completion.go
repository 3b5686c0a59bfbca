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

func wordList() []string {
	var list []string
	for _, w := range words {
		list = append(list, string(w))
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
	return fmt.Sprintf(`# bash completion for envexec: source <(envexec --completion bash)
_envexec() {
  local cur=${COMP_WORDS[COMP_CWORD]} i
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
  if [[ $cur == -* ]]; then
    COMPREPLY=($(compgen -W '%s --' -- "$cur"))
  else
    COMPREPLY=($(compgen -W '%s' -- "$cur"))
  fi
}
complete -o default -F _envexec envexec
`, strings.Join(flagList(), " "), strings.Join(wordList(), " "))
}

func zshScript() string {
	quote := strings.NewReplacer("'", `'\''`, "[", `\[`, "]", `\]`, ":", `\:`)
	var b strings.Builder
	b.WriteString("#compdef envexec\n# zsh completion for envexec: source <(envexec --completion zsh)\n_envexec() {\n  _arguments -S \\\n")
	for _, f := range Flags() {
		many, arg := "", ""
		if f.Repeats {
			many = "*"
		}
		if f.Arg != "" {
			arg = ":" + quote.Replace(f.Arg) + ":_files"
		}
		fmt.Fprintf(&b, "    '%s--%s[%s]%s' \\\n", many, f.Name, quote.Replace(f.Usage), arg)
	}
	fmt.Fprintf(&b, "    '1::command:(%s)' \\\n    '*::program:_normal'\n}\ncompdef _envexec envexec\n", strings.Join(wordList(), " "))
	return b.String()
}

func fishScript() string {
	quote := strings.NewReplacer(`\`, `\\`, "'", `\'`)
	var b strings.Builder
	b.WriteString("# fish completion for envexec: envexec --completion fish | source\n")
	for _, w := range wordList() {
		fmt.Fprintf(&b, "complete -c envexec -n __fish_use_subcommand -a %s\n", w)
	}
	for _, f := range Flags() {
		fmt.Fprintf(&b, "complete -c envexec -l %s -d '%s'", f.Name, quote.Replace(f.Usage))
		if f.Short != "" {
			b.WriteString(" -s " + f.Short)
		}
		if f.Arg != "" {
			b.WriteString(" -r")
		}
		b.WriteString("\n")
	}
	return b.String()
}

func powershellScript() string {
	all := append(wordList(), flagList()...)
	return fmt.Sprintf(`# PowerShell completion for envexec: envexec --completion powershell | Out-String | Invoke-Expression
Register-ArgumentCompleter -Native -CommandName envexec -ScriptBlock {
  param($word, $ast, $position)
  '%s'.Split(' ') | Where-Object { $_ -like "$word*" } | ForEach-Object {
    [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $_)
  }
}
`, strings.Join(all, " "))
}
