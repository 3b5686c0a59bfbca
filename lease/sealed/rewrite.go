package sealed

import (
	"crypto/rand"
	"errors"
	"maps"
	"os"
	"slices"
)

// rewrite puts a new file with all records, under a new file key, in place of the old.
func (f *File) rewrite(key Key) error {
	var head header
	_, _ = rand.Read(head.fileSalt[:]) // never fails
	if f.master == nil || f.key != key {
		_, _ = rand.Read(f.pass[:])
		master, err := key.master(f.pass[:])
		if err != nil {
			return err
		}
		f.key, f.master = key, master
	}
	head.passSalt = f.pass
	b, err := newBox(head, f.master)
	if err != nil {
		return err
	}
	next := f.cfg.Path + ".new"
	if err := f.disk.remove(next); err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	size, err := f.writeAll(next, b)
	if err != nil {
		return errors.Join(err, f.disk.remove(next))
	}
	if err := f.disk.rename(next, f.cfg.Path); err != nil {
		return err
	}
	f.box, f.size = b, size
	if f.out, err = f.disk.extend(f.cfg.Path); err != nil {
		f.out = nil // saved all the same; written anew next time
		f.log.Warn("sealed cache cannot be opened for more", "path", f.cfg.Path, "error", err)
	}
	return nil
}

// writeAll writes a whole file.
func (f *File) writeAll(path string, b *box) (size int64, err error) {
	out, err := f.disk.create(path)
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	write := func(data []byte) {
		if err == nil {
			_, err = out.Write(data)
			size += int64(len(data))
		}
	}
	write(b.head.bytes())
	var batch []byte
	if f.owner != "" {
		batch = appendChange(batch, opOwner, f.owner, nil)
	}
	flush := func() {
		if len(batch) > 0 {
			write(b.seal(batch))
			b.advance()
			batch = batch[:0]
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f.records)) {
		batch = appendChange(batch, opPut, name, f.records[name])
		if len(batch) > slack {
			flush()
		}
	}
	flush()
	if err == nil {
		err = out.Sync()
	}
	return size, err
}
