//go:build amd64 || arm64

package early

// wantedAt is where the field wanted lies in runtime.sig. A test compares it with
// the runtime that is linked.
const wantedAt = 20 //nolint:unused // for the assembler
