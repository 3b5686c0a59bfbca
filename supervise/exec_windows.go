package supervise

import "errors"

// Exec is not possible on Windows: no process can become another program.
func Exec(c Command, _ *Signals) (Status, error) {
	name := ""
	if len(c.Args) > 0 {
		name = c.Args[0]
	}
	return Status{}, &StartError{Program: name, Code: 126, Err: errors.New("becoming the program is not possible on Windows")}
}
