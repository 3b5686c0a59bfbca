package events

import (
	"bufio"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"io"
	"sync"
)

// socket is the client's side of a WebSocket (RFC 6455), only to read: what Vault's
// event stream needs.
type socket struct {
	r  *bufio.Reader
	mu sync.Mutex // writing
	w  io.Writer
}

const (
	opContinue = 0x0
	opClose    = 0x8
	opPing     = 0x9
	opPong     = 0xA
	maxMessage = 1 << 20
)

var errSocket = errors.New("the event stream is broken")

// socketKey is a value for Sec-WebSocket-Key.
func socketKey() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	return base64.StdEncoding.EncodeToString(b[:])
}

// read returns the next message. onFrame is called for every frame, pings and pongs too.
func (s *socket) read(onFrame func()) ([]byte, error) {
	var message []byte
	for {
		final, op, payload, err := s.frame()
		if err != nil {
			return nil, err
		}
		onFrame()
		switch {
		case op == opClose:
			return nil, io.EOF
		case op == opPing:
			if err := s.control(opPong, payload); err != nil {
				return nil, err
			}
		case op == opPong:
		case op > 2 || (op == opContinue) != (message != nil) || len(message)+len(payload) > maxMessage:
			return nil, errSocket
		default:
			message = append(append([]byte{}, message...), payload...)
			if final {
				return message, nil
			}
		}
	}
}

// frame reads one frame, which a server never masks.
func (s *socket) frame() (final bool, op byte, payload []byte, err error) {
	var head [2]byte
	if _, err = io.ReadFull(s.r, head[:]); err != nil {
		return false, 0, nil, err
	}
	final, op = head[0]&0x80 != 0, head[0]&0x0f
	size := uint64(head[1] & 0x7f)
	var long [8]byte
	switch size {
	case 126:
		_, err = io.ReadFull(s.r, long[6:])
		size = binary.BigEndian.Uint64(long[:])
	case 127:
		_, err = io.ReadFull(s.r, long[:])
		size = binary.BigEndian.Uint64(long[:])
	}
	if err != nil {
		return false, 0, nil, err
	}
	if head[0]&0x70 != 0 || head[1]&0x80 != 0 || size > maxMessage || op >= 8 && (size > 125 || !final) {
		return false, 0, nil, errSocket
	}
	payload = make([]byte, size)
	_, err = io.ReadFull(s.r, payload)
	return final, op, payload, err
}

// control sends a control frame, masked as a client must.
func (s *socket) control(op byte, payload []byte) error {
	frame := []byte{0x80 | op, 0x80 | byte(len(payload)), 0, 0, 0, 0}
	_, _ = rand.Read(frame[2:6])
	for i, b := range payload {
		frame = append(frame, b^frame[2+i%4])
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.w.Write(frame)
	return err
}
