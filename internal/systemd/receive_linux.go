package systemd

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Receiver is a manager's end of sd_notify, for one program. Its abstract name
// is not to be guessed, and the kernel vouches for every sender.
type Receiver struct {
	conn *net.UnixConn
	path string
}

// Listen opens a Receiver. Close it to end Receive.
func Listen() (*Receiver, error) {
	path := fmt.Sprintf("@envexec/%d/%s", os.Getpid(), rand.Text())
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		return nil, fmt.Errorf("listen for notifications: %w", err)
	}
	raw, err := conn.SyscallConn()
	if err == nil {
		cerr := raw.Control(func(fd uintptr) { err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_PASSCRED, 1) })
		err = errors.Join(err, cerr)
	}
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("listen for notifications: %w", err)
	}
	return &Receiver{conn: conn, path: path}, nil
}

// Path is what the program needs as NOTIFY_SOCKET.
func (r *Receiver) Path() string { return r.path }

// Close ends Receive. It is safe to call twice.
func (r *Receiver) Close() { _ = r.conn.Close() }

// sizes of a datagram and its descriptors; systemd allows 4096 bytes and 768 descriptors.
const (
	maxMessage = 4096
	maxRights  = 768
)

// Receive returns the next message; the caller owns its descriptors. An error
// means that the Receiver is closed.
func (r *Receiver) Receive() (Message, error) {
	buf := make([]byte, maxMessage)
	oob := make([]byte, unix.CmsgSpace(unix.SizeofUcred)+unix.CmsgSpace(4*maxRights))
	n, oobn, _, _, err := r.conn.ReadMsgUnix(buf, oob)
	if err != nil {
		return Message{}, err
	}
	m := Message{}
	for line := range strings.SplitSeq(string(buf[:n]), "\n") {
		if line != "" {
			m.Lines = append(m.Lines, line)
		}
	}
	controls, err := unix.ParseSocketControlMessage(oob[:oobn])
	if err != nil {
		return m, nil //nolint:nilerr // a message without a sender is nobody's, not the end
	}
	for i := range controls {
		if fds, err := unix.ParseUnixRights(&controls[i]); err == nil {
			m.FDs = append(m.FDs, fds...)
		}
		if cred, err := unix.ParseUnixCredentials(&controls[i]); err == nil {
			m.PID, m.UID = int(cred.Pid), int(cred.Uid)
		}
	}
	for _, fd := range m.FDs {
		unix.CloseOnExec(fd)
	}
	return m, nil
}

// CloseFDs closes the message's descriptors; for a barrier this is the answer.
func (m Message) CloseFDs() {
	for _, fd := range m.FDs {
		_ = unix.Close(fd)
	}
}

// Monotonic returns CLOCK_MONOTONIC in microseconds, the stamp of RELOADING.
func Monotonic() int64 {
	var ts unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &ts); err != nil {
		return 0
	}
	return ts.Nano() / 1000
}
