package sealed

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"fmt"
)

// A file is magic, pass salt, file salt, then records. A record is its length in
// four bytes and the sealed batch; a batch is a row of changes; a change is an
// operation, and name and value with their lengths before them. Numbers are
// big-endian.
const (
	magic      = "envexec sealed\x00\x01"
	saltSize   = 32
	headerSize = len(magic) + 2*saltSize
	lengthSize = 4

	maxRecord = 64 << 20
	maxFile   = 512 << 20

	opPut    = 1
	opDelete = 2
	opOwner  = 3 // whose all records are
)

var (
	errForeign  = errors.New("not a sealed cache of this version")
	errTampered = errors.New("a record is not what was written: wrong key, damage or tampering")
)

// header is a file's beginning.
type header struct{ passSalt, fileSalt [saltSize]byte }

func (h header) bytes() []byte {
	b := make([]byte, 0, headerSize)
	b = append(b, magic...)
	b = append(b, h.passSalt[:]...)
	return append(b, h.fileSalt[:]...)
}

func parseHeader(b []byte) (h header, err error) {
	if len(b) < headerSize || !bytes.HasPrefix(b, []byte(magic)) {
		return h, errForeign
	}
	b = b[len(magic):]
	copy(h.passSalt[:], b)
	copy(h.fileSalt[:], b[saltSize:])
	return h, nil
}

// box seals and opens the records of one file, in order.
type box struct {
	aead cipher.AEAD
	head header
	next uint64 // number of the next record
}

func newBox(head header, master []byte) (*box, error) {
	key, err := fileKey(master, head.fileSalt[:])
	if err != nil {
		return nil, fmt.Errorf("derive key: %w", err)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("make cipher: %w", err)
	}
	return &box{aead: aead, head: head}, nil
}

// place is what binds a record to its file and its number.
func (b *box) place() []byte {
	return binary.BigEndian.AppendUint64(b.head.bytes(), b.next)
}

// seal returns the record of batch. The number counts up by advance, once it is written.
func (b *box) seal(batch []byte) []byte {
	rec := make([]byte, lengthSize, lengthSize+len(batch)+b.aead.Overhead())
	rec = b.aead.Seal(rec, nil, batch, b.place())
	binary.BigEndian.PutUint32(rec, uint32(len(rec)-lengthSize)) //nolint:gosec // batches are far below 4 GiB
	return rec
}

func (b *box) advance() { b.next++ }

// open reads all records of data and hands each batch to apply. It returns how many
// bytes hold; fewer than len(data) when the file ends inside a record.
func (b *box) open(data []byte, apply func(batch []byte) error) (int, error) {
	done := 0
	for len(data)-done >= lengthSize {
		n := int(binary.BigEndian.Uint32(data[done:]))
		if n > maxRecord || n < b.aead.Overhead() {
			return done, errTampered
		}
		if len(data)-done-lengthSize < n {
			break
		}
		sealed := data[done+lengthSize : done+lengthSize+n]
		batch, err := b.aead.Open(nil, nil, sealed, b.place())
		if err != nil {
			return done, errTampered
		}
		if err := apply(batch); err != nil {
			return done, err
		}
		b.advance()
		done += lengthSize + n
	}
	return done, nil
}

// appendChange adds one change to a batch.
func appendChange(batch []byte, op byte, name string, value []byte) []byte {
	batch = append(batch, op)
	batch = binary.BigEndian.AppendUint32(batch, uint32(len(name))) //nolint:gosec // bounded by maxRecord
	batch = append(batch, name...)
	if op == opPut {
		batch = binary.BigEndian.AppendUint32(batch, uint32(len(value))) //nolint:gosec // bounded by maxRecord
		batch = append(batch, value...)
	}
	return batch
}

// changes reads a batch.
func changes(batch []byte, each func(op byte, name string, value []byte)) error {
	for len(batch) > 0 {
		op := batch[0]
		name, rest, ok := cut(batch[1:])
		if !ok || op < opPut || op > opOwner {
			return errTampered
		}
		var value []byte
		if op == opPut {
			if value, rest, ok = cut(rest); !ok {
				return errTampered
			}
		}
		each(op, string(name), value)
		batch = rest
	}
	return nil
}

// cut takes a text with its length before it.
func cut(b []byte) (text, rest []byte, ok bool) {
	if len(b) < lengthSize {
		return nil, nil, false
	}
	n := int(binary.BigEndian.Uint32(b))
	if b = b[lengthSize:]; n > len(b) {
		return nil, nil, false
	}
	return b[:n], b[n:], true
}
