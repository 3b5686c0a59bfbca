package files

import (
	"errors"
	"io/fs"
	"net"
	"time"

	"golang.org/x/sys/windows"
)

// ListenPrivate opens a unix socket that only we and administrators may use.
func ListenPrivate(path string) (net.Listener, error) {
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, err
	}
	if err := protect(path); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	if err := forget(ln.(*net.UnixListener)); err != nil {
		return nil, errors.Join(err, ln.Close())
	}
	return ln, nil
}

// forget closes the connections that were there before the socket's rights were.
func forget(ln interface {
	net.Listener
	SetDeadline(time.Time) error
}) error {
	const look = 5 * time.Millisecond
	for {
		if err := ln.SetDeadline(time.Now().Add(look)); err != nil {
			return err
		}
		conn, err := ln.Accept()
		if err != nil {
			break
		}
		_ = conn.Close()
	}
	return ln.SetDeadline(time.Time{})
}

// protect lets only us and administrators use what is at path already: a socket cannot
// be made so.
func protect(path string) error {
	sd, err := privateDescriptor()
	if err != nil {
		return err
	}
	name, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return err
	}
	const share = windows.FILE_SHARE_READ | windows.FILE_SHARE_WRITE | windows.FILE_SHARE_DELETE
	// A socket is a reparse point, which nothing can be opened through.
	const itself = windows.FILE_FLAG_OPEN_REPARSE_POINT | windows.FILE_FLAG_BACKUP_SEMANTICS
	h, err := windows.CreateFile(name, windows.WRITE_DAC|windows.READ_CONTROL, share, nil, windows.OPEN_EXISTING, itself, 0)
	if err != nil {
		return &fs.PathError{Op: "open", Path: path, Err: err}
	}
	defer func() { _ = windows.CloseHandle(h) }()
	const what = windows.DACL_SECURITY_INFORMATION | windows.PROTECTED_DACL_SECURITY_INFORMATION
	return windows.SetKernelObjectSecurity(h, what, sd)
}
