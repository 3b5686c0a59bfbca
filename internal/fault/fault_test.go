package fault

import (
	"errors"
	"strings"
	"testing"
)

func TestTryHidesTheValue(t *testing.T) {
	err := Try(func() error { panic(errors.New("hunter2")) })
	if text := err.Error(); strings.Contains(text, "hunter2") || !strings.Contains(text, "fault_test.go") || !strings.Contains(text, "*errors.errorString") {
		t.Error(text)
	}
	var list []int
	err = Try(func() error { _ = list[3]; return nil })
	if !strings.Contains(err.Error(), "index out of range [3]") {
		t.Error(err)
	}
	want := errors.New("ordinary")
	if err := Try(func() error { return want }); err != want { //nolint:errorlint // that very error, in nothing
		t.Errorf("an ordinary error became %v", err)
	}
	if again := Try(func() error { panic(err) }); again != err { //nolint:errorlint // as above
		t.Error("passed on, a panic lost its place")
	}
}
