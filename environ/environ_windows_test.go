package environ

import (
	"errors"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

func TestNamesHaveNoCase(t *testing.T) {
	e := From([]string{"Path=first", "PATH=second", "größe=1", "Ελλάδα=2", "plain=3"})
	for name, want := range map[string]string{"PATH": "first", "path": "first", "GRÖßE": "1", "ΕΛΛΆΔΑ": "2", "PLAIN": "3"} {
		if got, ok := e.Get(name); !ok || got != want {
			t.Errorf("%s = %q, %v; want %q", name, got, ok, want)
		}
	}
	m, err := e.Merge(From([]string{"PLAIN=new"}), Override)
	if got := m.List(); err != nil || !slices.Contains(got, "PLAIN=new") || slices.Contains(got, "plain=3") {
		t.Errorf("merged %q, %v", got, err)
	}
	if e.Strip("pa*").Len() != e.Len()-1 {
		t.Error("a pattern in another case matches nothing")
	}
}

// Only letters of one kind are the same: Unicode's own table would change ı and ſ into ASCII.
func TestNamesAreFoldedAsWindowsDoes(t *testing.T) {
	for _, name := range []string{"\u0131", "\u017f", "\u212a"} { // dotless i, long s, Kelvin
		if folded := fold(name); folded[0] < 0x80 {
			t.Errorf("%q became %q", name, folded)
		}
	}
	if fold("😀x") != "😀X" {
		t.Errorf("%q", fold("😀x"))
	}
}

func TestListIsInTheOrderCreateProcessWants(t *testing.T) {
	got := From([]string{"b=1", "A=1", "C=1", "_=1"}).Names()
	if want := []string{"A", "b", "C", "_"}; !slices.Equal(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}

func TestTheCommandLineHasALimit(t *testing.T) {
	half := strings.Repeat("x", 16000)
	if err := (Environ{}).Check("app", half, half); err != nil {
		t.Error(err)
	}
	// Each quote becomes two characters.
	var long *TooLongError
	if err := (Environ{}).Check("app", half, strings.Repeat(`"`, 9000)); !errors.As(err, &long) || !strings.Contains(err.Error(), "characters") {
		t.Errorf("%v", err)
	}
}

// A process gets what Check lets through, to the last character.
func TestTheSystemTakesWhatCheckDoes(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("ü", limits().each-len("ENVIRON_TEST")-2)
	root, _ := os.LookupEnv("SYSTEMROOT")
	e := From([]string{"ENVIRON_TEST=" + long, "Größe=日本語 😀", "SYSTEMROOT=" + root})
	if err := e.Check(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self, "-test.run=^TestChildSeesItsEnvironment$")
	cmd.Env = append(e.List(), "ENVIRON_CHILD=1")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v: %.300s", err, out)
	}
}

func TestChildSeesItsEnvironment(t *testing.T) {
	if os.Getenv("ENVIRON_CHILD") == "" {
		t.Skip("the child of another test")
	}
	if got := os.Getenv("größe"); got != "日本語 😀" {
		t.Errorf("Größe = %q", got)
	}
	if got := os.Getenv("ENVIRON_TEST"); got != strings.Repeat("ü", limits().each-len("ENVIRON_TEST")-2) {
		t.Errorf("%d bytes arrived", len(got))
	}
}
