package files

import (
	"errors"
	"io"
	"io/fs"
	"net"
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
		calls, taken, waited := 0, 0, time.Duration(0)
		err := replace("a", "b", func(from, to *uint16) error {
			if calls++; calls <= tc.refusals {
				return tc.err
			}
			return nil
		}, func(string, string) error { taken++; return tc.err }, func(d time.Duration) { waited += d })
		if tc.waits != (taken > 0) {
			t.Errorf("%v: the name was taken %d times", tc.err, taken)
		}
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
	never := func(string, string) error { return windows.ERROR_NOT_SUPPORTED } // as on a file system without it
	err = replace(path+".new", path, moveFile, never, func(time.Duration) {
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

// Where the file is open, its name is taken as POSIX has it, which a reader that lets
// others delete allows. (Wine 8 does not, so no reader is here.)
func TestTheNameOfAnOpenFileIsTaken(t *testing.T) {
	dir := t.TempDir()
	from, to := filepath.Join(dir, "new"), filepath.Join(dir, "secret")
	for path, text := range map[string]string{from: "new", to: "old"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	refuse := func(_, _ *uint16) error { return windows.ERROR_ACCESS_DENIED }
	err := replace(from, to, refuse, takeName, func(time.Duration) { t.Error("it waits") })
	now, rerr := os.ReadFile(to)
	if err != nil || rerr != nil || string(now) != "new" {
		t.Errorf("%v; the file holds %q, %v", err, now, rerr)
	}
	elsewhere := filepath.Join(t.TempDir(), "secret")
	wait := errors.New("waited")
	if err := replace(to, elsewhere, refuse, func(string, string) error { return wait }, func(time.Duration) {}); !errors.Is(err, windows.ERROR_ACCESS_DENIED) {
		t.Errorf("%v", err)
	}
}

func TestWhatIsClosedToOthers(t *testing.T) {
	for text, want := range map[string]bool{
		"O:BAD:P(A;;FA;;;BA)": true, "O:SYD:P(A;;FA;;;SY)(D;;FA;;;WD)": true, "O:BAD:P": true,
		"O:BAD:P(A;;FR;;;WD)": false, "O:BA": false,
		"O:WDD:P(A;;FA;;;BA)": false, // its owner may change the list
		"D:P(A;;FA;;;BA)":     false,
	} {
		sd, err := windows.SecurityDescriptorFromString(text)
		if err != nil {
			t.Fatal(text, err)
		}
		if closed(sd) != want {
			t.Errorf("%s is closed: %v", text, !want)
		}
		list, _, err := sd.DACL()
		if !want || err != nil || list.AceCount == 0 {
			continue
		}
		var ace *windows.ACCESS_ALLOWED_ACE
		if err := windows.GetAce(list, 0, &ace); err != nil {
			t.Fatal(err)
		}
		ace.Header.AceType = 9 // ACCESS_ALLOWED_CALLBACK_ACE_TYPE
		if closed(sd) {
			t.Errorf("%s with a conditional right is closed", text)
		}
	}
}

// Whoever connected before the rights were there is sent away.
func TestEarlyConnectionsAreForgotten(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	early, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = early.Close() }()
	if err := forget(ln.(*net.TCPListener)); err != nil {
		t.Fatal(err)
	}
	if n, err := early.Read(make([]byte, 1)); err == nil {
		t.Errorf("it read %d bytes", n)
	}
	late, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = late.Close() }()
	conn, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
}

func TestMadePrivateItIs(t *testing.T) {
	path := filepath.Join(t.TempDir(), "open")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := protect(path); err != nil {
		t.Fatal(err)
	}
	if !HasMode(path, nil, 0o600) {
		t.Errorf("it is not: %s", rights(t, path))
	}
}

func TestLongPaths(t *testing.T) {
	dir := t.TempDir()
	for len(dir) < 300 {
		dir = filepath.Join(dir, strings.Repeat("d", 60))
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(dir, "secret")
	for _, text := range []string{"one", "two"} {
		f, err := CreateTemp(dir, "new-*", 0o600, "")
		if err != nil {
			t.Fatal(err)
		}
		_, werr := f.WriteString(text)
		if err := errors.Join(werr, f.Close(), Replace(f.Name(), to)); err != nil {
			t.Fatal(err)
		}
		if got, err := os.ReadFile(to); err != nil || string(got) != text || !HasMode(to, nil, 0o600) {
			t.Errorf("%q, %v, private: %v", got, err, HasMode(to, nil, 0o600))
		}
	}
}

// A log goes on in the file that was renamed while it was open.
func TestALogCanBePutAside(t *testing.T) {
	dir := t.TempDir()
	f, err := OpenLog(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(filepath.Join(dir, "log"), filepath.Join(dir, "aside")); err != nil {
		t.Fatal(err)
	}
	_, werr := f.WriteString("line")
	if err := errors.Join(werr, f.Close()); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "aside")); err != nil || string(got) != "line" {
		t.Errorf("%q, %v", got, err)
	}
}
