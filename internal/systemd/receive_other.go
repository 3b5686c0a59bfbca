//go:build !linux

package systemd

import "errors"

// Receiver does not exist here.
type Receiver struct{}

// Listen reports that there is no sd_notify here.
func Listen() (*Receiver, error) {
	return nil, errors.New("listen for notifications: only on Linux")
}

// Path returns "".
func (*Receiver) Path() string { return "" }

// Close does nothing.
func (*Receiver) Close() {}

// Receive reports that there is no sd_notify here.
func (*Receiver) Receive() (Message, error) {
	return Message{}, errors.New("receive a notification: only on Linux")
}

// CloseFDs does nothing.
func (Message) CloseFDs() {}

// Monotonic returns 0.
func Monotonic() int64 { return 0 }
