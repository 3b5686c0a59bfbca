//go:build faults

package fault

import "os"

// Point panics with a value that must not be shown if $ENVEXEC_FAULT is name.
func Point(name string) {
	if os.Getenv("ENVEXEC_FAULT") == name {
		panic("secret-in-a-panic")
	}
}
