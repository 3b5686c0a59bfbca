package files

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/windows"
)

func rights(t *testing.T, path string) string {
	t.Helper()
	sd, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		t.Fatal(err)
	}
	return sd.String()
}

// The list that is asked for names us and the administrators, and is protected.
func TestThePrivateListNamesNobodyElse(t *testing.T) {
	sd, err := privateDescriptor()
	if err != nil {
		t.Fatal(err)
	}
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		t.Fatal(err)
	}
	if want := "D:P(A;;FA;;;" + user.User.Sid.String() + ")(A;;FA;;;BA)"; sd.String() != want {
		t.Errorf("%s, want %s", sd, want)
	}
	control, _, err := sd.Control()
	if err != nil || control&windows.SE_DACL_PROTECTED == 0 {
		t.Errorf("control %x, %v: rights of the directory would be added", control, err)
	}
	for mode, want := range map[fs.FileMode]bool{0o600: true, 0o640: true, 0o400: true, 0o644: false, 0o604: false, 0o755: false} {
		if private(mode) != want {
			t.Errorf("private(%v) = %v", mode, !want)
		}
	}
}

func TestReplaceKeepsTheRightsOfTheOldFile(t *testing.T) {
	dir := t.TempDir()
	old := filepath.Join(dir, "old")
	f, err := OpenPrivate(old, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	next, err := CreateTemp(dir, "next-*", 0o666, old)
	if err != nil {
		t.Fatal(err)
	}
	_ = next.Close()
	if a, b := rights(t, old), rights(t, next.Name()); a != b {
		t.Errorf("the old file has %s, the new one %s", a, b)
	}
}

func TestReplaceWaitsForReaders(t *testing.T) {
	for _, tc := range []struct {
		refusals int
		err      error
		works    bool
		waits    bool
	}{
		{3, windows.ERROR_SHARING_VIOLATION, true, true},
		{3, windows.ERROR_ACCESS_DENIED, true, true},
		{1 << 20, windows.ERROR_ACCESS_DENIED, false, true},
		{1 << 20, windows.ERROR_PATH_NOT_FOUND, false, false},
	} {
		calls, waited := 0, time.Duration(0)
		err := replace("a", "b", func(from, to *uint16) error {
			if calls++; calls <= tc.refusals {
				return tc.err
			}
			return nil
		}, func(d time.Duration) { waited += d })
		if tc.works != (err == nil) || tc.waits != (waited > 0) || waited > 10*time.Second {
			t.Errorf("%v, %d times: %v after %d calls and %v", tc.err, tc.refusals, err, calls, waited)
		}
		if err != nil && (!errors.Is(err, tc.err) || !strings.Contains(err.Error(), "rename a b")) {
			t.Errorf("%v", err)
		}
	}
}

// While a reader holds the old file it stays as it is; once it lets go the new one is there.
func TestAReaderSeesOneWholeFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "secret")
	write := func(name, text string) {
		f, err := OpenPrivate(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = f.WriteString(text)
		_ = f.Close()
	}
	write(path, "old")
	write(path+".new", "new")
	reader, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	err = replace(path+".new", path, moveFile, func(time.Duration) {
		if text, err := io.ReadAll(reader); len(text) > 0 && (err != nil || string(text) != "old") {
			t.Errorf("the reader sees %q, %v", text, err)
		}
		_ = reader.Close()
	})
	if now, rerr := os.ReadFile(path); err != nil || rerr != nil || string(now) != "new" {
		t.Errorf("the file holds %q, %v; %v", now, rerr, err)
	}
}

func TestOthersAreNoticed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "open")
	sd, err := windows.SecurityDescriptorFromString("D:P(A;;FA;;;BA)(A;;FR;;;WD)")
	if err != nil {
		t.Fatal(err)
	}
	f, err := create(path, os.O_WRONLY|os.O_CREATE, sd)
	if err != nil {
		t.Fatal(err)
	}
	_ = f.Close()
	if HasMode(path, nil, 0o600) || !HasMode(path, nil, 0o644) {
		t.Errorf("%s counts as private", rights(t, path))
	}
}
