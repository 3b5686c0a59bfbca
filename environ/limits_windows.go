package environ

import "golang.org/x/sys/windows"

const unit = "characters"

// limits: one variable, name and value with its final NUL, and one command line have
// at most 32,767 characters each; all variables together may have any number.
func limits() limit { return limit{each: 32767, line: 32767} }

// commandLine is the size of the one line that all arguments are passed in.
func commandLine(args []string) int { return measure(windows.ComposeCommandLine(args)) + 1 }
