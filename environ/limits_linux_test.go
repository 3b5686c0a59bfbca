package environ

import (
	"errors"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// The kernel itself says where one string ends to fit, and that Check draws the line
// of all of them on the safe side.
func TestLimitsAreTheKernels(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	run := func(e Environ) error {
		return (&exec.Cmd{Path: self, Args: []string{self, "-test.run=^$"}, Env: e.List()}).Run()
	}
	longest := strings.Repeat("x", limits().each-len("A")-2)
	if err := run(From([]string{"A=" + longest})); err != nil {
		t.Errorf("the longest string: %v", err)
	}
	if err := run(From([]string{"A=x" + longest})); !errors.Is(err, syscall.E2BIG) {
		t.Errorf("one byte more: %v", err)
	}
	many := map[string]string{}
	for i := range limits().total / 1024 {
		many["V"+strings.Repeat("v", 20)+string(rune('A'+i%26))+strings.Repeat("n", i/26)] = strings.Repeat("x", 900)
		if e := FromMap(many); i%512 == 511 && e.Check(self, "-test.run=^$") == nil {
			if err := run(e); err != nil {
				t.Fatalf("%d variables pass Check but not exec: %v", len(many), err)
			}
		}
	}
}
