//go:build amd64 || arm64

package early

import (
	"debug/dwarf"
	"debug/elf"
	"os/exec"
	"path/filepath"
	"testing"
)

// TestWantedIsWhereTheRuntimeHasIt: entry writes into a structure of the runtime, which may change with any version of Go.
func TestWantedIsWhereTheRuntimeHasIt(t *testing.T) {
	path := filepath.Join(t.TempDir(), "probe")
	build := exec.Command("go", "build", "-tags", "entry", "-o", path, //nolint:gosec // a test builds
		"-ldflags", "-checklinkname=0 -E github.com/envexec/envexec/internal/early.entry", "./testdata/probe")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if out, err := exec.Command(path).CombinedOutput(); err != nil { //nolint:gosec // just built
		t.Fatalf("%v: %s", err, out)
	}
	if at := fieldOffset(t, path, "runtime.sig", "wanted"); at != wantedAt {
		t.Errorf("the field wanted of runtime.sig is at %d, entry writes at %d", at, wantedAt)
	}
}

// fieldOffset looks a field of a variable up in the program's debugging information.
func fieldOffset(t *testing.T, path, variable, field string) int64 {
	t.Helper()
	file, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	info, err := file.DWARF()
	if err != nil {
		t.Fatal(err)
	}
	for entries := info.Reader(); ; {
		entry, err := entries.Next()
		if err != nil || entry == nil {
			t.Fatalf("no variable %s: %v", variable, err)
		}
		if entry.Tag != dwarf.TagVariable || entry.Val(dwarf.AttrName) != variable {
			continue
		}
		of, err := info.Type(entry.Val(dwarf.AttrType).(dwarf.Offset))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range of.(*dwarf.StructType).Field {
			if f.Name == field {
				return f.ByteOffset
			}
		}
		t.Fatalf("%s has no field %s", variable, field)
	}
}
