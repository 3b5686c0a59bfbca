package files

import (
	"errors"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"unsafe"

	"golang.org/x/sys/windows"
)

// CreateTemp makes a new file in dir for SetMode and Replace; pattern is as for
// os.CreateTemp. A private mode it has from its first moment. like is the file it
// will replace if that is to keep its rights, else "".
func CreateTemp(dir, pattern string, mode fs.FileMode, like string) (*os.File, error) {
	sd, err := descriptor(mode, like)
	if err != nil {
		return nil, err
	}
	before, after, _ := strings.Cut(pattern, "*")
	for attempt := 0; ; attempt++ {
		path := filepath.Join(dir, before+strconv.FormatUint(uint64(rand.Uint32()), 10)+after)
		f, err := create(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, sd)
		if !errors.Is(err, fs.ErrExist) || attempt == 1000 {
			return f, err
		}
	}
}

// SetMode has nothing left to do. The read-only attribute, all that a mode is to
// os.Chmod here, would only hinder the file's replacement.
func SetMode(*os.File, fs.FileMode) error { return nil }

// HasMode reports whether a file that is to be private is: only we, administrators
// and the system may do anything with the one at path.
func HasMode(path string, _ fs.FileInfo, mode fs.FileMode) bool {
	if !private(mode) {
		return true
	}
	now, err := windows.GetNamedSecurityInfo(path, windows.SE_FILE_OBJECT, windows.OWNER_SECURITY_INFORMATION|windows.DACL_SECURITY_INFORMATION)
	if err != nil {
		return false
	}
	return closed(now)
}

// closed: what sd lets in is trusted, and so is its owner, who may change it.
func closed(sd *windows.SECURITY_DESCRIPTOR) bool {
	owner, _, err := sd.Owner()
	if err != nil || owner == nil || !trusted(owner) {
		return false
	}
	list, _, err := sd.DACL()
	if err != nil || list == nil { // no list lets everybody in
		return false
	}
	for i := range uint32(list.AceCount) {
		var ace *windows.ACCESS_ALLOWED_ACE
		if err := windows.GetAce(list, i, &ace); err != nil {
			return false
		}
		switch ace.Header.AceType {
		case windows.ACCESS_DENIED_ACE_TYPE:
		case windows.ACCESS_ALLOWED_ACE_TYPE:
			if !trusted((*windows.SID)(unsafe.Pointer(&ace.SidStart))) {
				return false
			}
		default: // a conditional right, and others of which we do not know whose they are
			return false
		}
	}
	return true
}

// trusted: we, administrators and the system, whom no list keeps out.
func trusted(sid *windows.SID) bool {
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	return err == nil && sid.Equals(user.User.Sid) ||
		sid.IsWellKnown(windows.WinBuiltinAdministratorsSid) || sid.IsWellKnown(windows.WinLocalSystemSid)
}

// OpenPrivate is os.OpenFile for a file that only we and administrators may read and
// write. One that is there already keeps its rights.
func OpenPrivate(path string, flag int) (*os.File, error) {
	sd, err := privateDescriptor()
	if err != nil {
		return nil, err
	}
	return create(path, flag, sd)
}

// OpenLog opens a file that lines are added to, and that may be renamed meanwhile: os.OpenFile
// would not let it. It has the rights that its directory gives.
func OpenLog(path string) (*os.File, error) {
	return create(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, nil)
}

// private: others get no right.
func private(mode fs.FileMode) bool { return mode&0o007 == 0 }

// descriptor returns the rights of a new file; nil = what the directory gives.
func descriptor(mode fs.FileMode, like string) (*windows.SECURITY_DESCRIPTOR, error) {
	switch {
	case like != "":
		return windows.GetNamedSecurityInfo(like, windows.SE_FILE_OBJECT, windows.DACL_SECURITY_INFORMATION)
	case private(mode):
		return privateDescriptor()
	}
	return nil, nil
}

// privateDescriptor: protected from inheritance (P), all file rights (FA) for our own
// account and the administrators' group (BA), nothing for anybody else.
var privateDescriptor = sync.OnceValues(func() (*windows.SECURITY_DESCRIPTOR, error) {
	user, err := windows.GetCurrentProcessToken().GetTokenUser()
	if err != nil {
		return nil, err
	}
	return windows.SecurityDescriptorFromString("D:P(A;;FA;;;" + user.User.Sid.String() + ")(A;;FA;;;BA)")
})

// create opens a file as os.OpenFile does, and gives it sd if it is new.
func create(path string, flag int, sd *windows.SECURITY_DESCRIPTOR) (*os.File, error) {
	fail := func(err error) error { return &fs.PathError{Op: "open", Path: path, Err: err} }
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return nil, fail(err)
	}
	var sa *windows.SecurityAttributes
	if sd != nil {
		sa = &windows.SecurityAttributes{SecurityDescriptor: sd}
		sa.Length = uint32(unsafe.Sizeof(*sa))
	}
	const share = windows.FILE_SHARE_READ | windows.FILE_SHARE_WRITE | windows.FILE_SHARE_DELETE
	h, err := windows.CreateFile(name, access(flag), share, sa, disposition(flag), windows.FILE_ATTRIBUTE_NORMAL, 0)
	if err != nil {
		return nil, fail(err)
	}
	return os.NewFile(uintptr(h), path), nil
}

func access(flag int) uint32 {
	switch {
	case flag&os.O_APPEND != 0:
		return windows.FILE_APPEND_DATA | windows.FILE_READ_ATTRIBUTES | windows.FILE_WRITE_ATTRIBUTES | windows.SYNCHRONIZE
	case flag&os.O_RDWR != 0:
		return windows.GENERIC_READ | windows.GENERIC_WRITE
	case flag&os.O_WRONLY != 0:
		return windows.GENERIC_WRITE
	}
	return windows.GENERIC_READ
}

func disposition(flag int) uint32 {
	switch {
	case flag&(os.O_CREATE|os.O_EXCL) == os.O_CREATE|os.O_EXCL:
		return windows.CREATE_NEW
	case flag&(os.O_CREATE|os.O_TRUNC) == os.O_CREATE|os.O_TRUNC:
		return windows.CREATE_ALWAYS
	case flag&os.O_CREATE != 0:
		return windows.OPEN_ALWAYS
	case flag&os.O_TRUNC != 0:
		return windows.TRUNCATE_EXISTING
	}
	return windows.OPEN_EXISTING
}
