//go:build entry && (amd64 || arm64)

package early

// entry marks the signals of Caught as wanted in the runtime's table of signals and
// goes on to the runtime's own entry. The runtime's handler otherwise ends the
// process (status 2 for process 1, which its own signals do not end).
//
// It needs two flags of the linker, -E and -checklinkname=0, so it is behind a build tag.
func entry() //nolint:unused // named to the linker
