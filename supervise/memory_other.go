//go:build !linux

package supervise

import (
	"errors"
	"os"
)

// HasMemory reports whether Generation.Memory works on this system.
func HasMemory() bool { return false }

var errNoMemory = errors.New("files in memory exist on Linux only")

func (Memory) open(*User, bool) (*os.File, error) { return nil, errNoMemory }

func (Memory) path(int) string { return "" }

func inherit(memory []Memory, _ *User, env []string) ([]string, error) {
	if len(memory) > 0 {
		return nil, errNoMemory
	}
	return env, nil
}
