package sealed

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"os"
	"slices"
	"sync"
)

// ErrInUse says that another process has the file open.
var ErrInUse = errors.New("the sealed cache is in use by another process")

// Config says where the file is and what seals it.
type Config struct {
	Path string // its directory must exist; Path.lock and Path.new are used beside it
	Keys KeySource
	// Owner names whose records these are: the server and the login, say. A file of
	// another owner is emptied.
	Owner string
	// Strict makes a file that is refused an error instead of starting afresh.
	Strict bool
	Logger *slog.Logger // nil = no logs

	disk *disk
}

// File is an open sealed cache. Its methods may be called from several goroutines.
type File struct {
	cfg    Config
	log    *slog.Logger
	disk   disk
	unlock func() error

	mu      sync.Mutex
	records map[string][]byte
	owner   string
	out     handle // nil: the file must be written anew before anything else
	box     *box
	key     Key
	master  []byte
	pass    [saltSize]byte // salt of master
	size    int64          // bytes of the file that hold
	live    int64          // bytes of the records, if each were written once

	forgotten bool // see Forget
}

// Open reads the file. One that is damaged, tampered with or sealed with an
// unknown key is refused as a whole: that is logged, and an empty one takes its
// place. The errors that remain are of the configuration: no key, no directory,
// in use (ErrInUse). The caller closes the File.
func Open(cfg Config) (*File, error) {
	f := &File{cfg: cfg, log: cfg.Logger, disk: realDisk(), records: map[string][]byte{}}
	if f.log == nil {
		f.log = slog.New(slog.DiscardHandler)
	}
	if cfg.disk != nil {
		f.disk = *cfg.disk
	}
	if cfg.Path == "" || cfg.Keys == nil {
		return nil, errors.New("open sealed cache: no path or no key")
	}
	keys, err := f.keys()
	if err != nil {
		return nil, err
	}
	if f.unlock, err = lock(cfg.Path + ".lock"); err != nil {
		return nil, fmt.Errorf("open sealed cache: %w", err)
	}
	if err := f.load(keys); err != nil {
		return nil, errors.Join(fmt.Errorf("open sealed cache: %w", err), f.unlock())
	}
	return f, nil
}

// keys returns the keys of now, checked.
func (f *File) keys() ([]Key, error) {
	keys, err := f.cfg.Keys()
	if err == nil && len(keys) == 0 {
		err = errors.New("no key")
	}
	for i := 0; err == nil && i < len(keys); i++ {
		err = keys[i].check()
	}
	if err != nil {
		return nil, fmt.Errorf("open sealed cache: %w", err)
	}
	return keys, nil
}

// load reads what is on disk; whatever is wrong with it means starting afresh.
func (f *File) load(keys []Key) error {
	data, err := readFile(f.cfg.Path)
	switch {
	case errors.Is(err, os.ErrNotExist):
		f.owner = f.cfg.Owner
	case err != nil && !errors.Is(err, errForeign):
		return err
	default:
		if err == nil {
			err = f.read(data, keys)
		}
		if err != nil && f.cfg.Strict {
			return fmt.Errorf("%q: %w", f.cfg.Path, err)
		}
		if err != nil {
			f.records, f.owner, f.out, f.box = map[string][]byte{}, f.cfg.Owner, nil, nil
			f.log.Error("sealed cache refused, starting afresh", "path", f.cfg.Path, "error", err)
		}
	}
	if err := f.claim(); err != nil {
		return err
	}
	if f.out != nil && f.key == keys[0] {
		return nil
	}
	if err := errors.Join(f.close(), f.rewrite(keys[0])); err != nil {
		if len(f.records) == 0 && !noRoom(err) {
			return err
		}
		f.log.Warn("sealed cache cannot be written", "path", f.cfg.Path, "error", err) // tried again with each Save
	}
	return nil
}

// claim makes the records this owner's.
func (f *File) claim() error {
	if f.owner == f.cfg.Owner {
		return nil
	}
	if len(f.records) > 0 {
		f.log.Warn("sealed cache is of another server or login, starting afresh", "path", f.cfg.Path)
	}
	f.records, f.live, f.owner = map[string][]byte{}, 0, f.cfg.Owner
	return f.close() // to be written anew
}

// readFile reads path if it is small enough to be ours.
func readFile(path string) ([]byte, error) {
	in, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer in.Close()
	head := make([]byte, len(magic))
	if _, err := io.ReadFull(in, head); err == nil && string(head) != magic {
		return nil, errForeign
	}
	if _, err := in.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(in, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = errForeign
	}
	return data, err
}

// read takes the records from data with the first key that opens them.
func (f *File) read(data []byte, keys []Key) error {
	head, err := parseHeader(data)
	if err != nil {
		return err
	}
	for _, key := range keys {
		var master []byte
		if master, err = key.master(head.passSalt[:]); err != nil {
			return err
		}
		var b *box
		if b, err = newBox(head, master); err != nil {
			return err
		}
		records, owner, done := map[string][]byte{}, "", 0
		done, err = b.open(data[headerSize:], func(batch []byte) error { return applyBatch(records, &owner, batch) })
		if err != nil {
			continue
		}
		f.records, f.owner, f.box, f.key, f.master, f.pass = records, owner, b, key, master, head.passSalt
		f.size, f.live = int64(headerSize+done), liveBytes(records)
		return f.resume(len(data) - headerSize - done)
	}
	return err
}

// resume opens the file for more, without the torn bytes at its end.
func (f *File) resume(torn int) error {
	if torn > 0 {
		f.log.Warn("sealed cache ends inside a record, dropping it", "path", f.cfg.Path, "bytes", torn)
		return nil // out stays nil: written anew
	}
	out, err := f.disk.extend(f.cfg.Path)
	if err != nil {
		return err
	}
	f.out = out
	return nil
}

func applyBatch(records map[string][]byte, owner *string, batch []byte) error {
	return changes(batch, func(op byte, name string, value []byte) {
		switch op {
		case opOwner:
			*owner = name
		case opDelete:
			delete(records, name)
		default:
			records[name] = append([]byte{}, value...) // never nil
		}
	})
}

func liveBytes(records map[string][]byte) int64 {
	var n int64
	for name, value := range records {
		n += changeSize(name, value)
	}
	return n
}

func changeSize(name string, value []byte) int64 {
	return int64(1 + 2*lengthSize + len(name) + len(value))
}

// Load returns the records. The map is the caller's, the values are not to be changed.
func (f *File) Load() map[string][]byte {
	f.mu.Lock()
	defer f.mu.Unlock()
	return maps.Clone(f.records)
}

// Save adds or replaces records and removes others, all or none of them, and is
// durable when it returns. After an error they count as not saved, and the next
// Save may work again.
func (f *File) Save(put map[string][]byte, remove []string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.unlock == nil {
		return fmt.Errorf("save to sealed cache: %w", os.ErrClosed)
	}
	if f.forgotten {
		return nil
	}
	keys, err := f.keys()
	if err != nil {
		keys = []Key{f.key} // a key that cannot be read now may come back
	}
	var batch []byte
	undo := make(map[string][]byte, len(put)+len(remove))
	for _, name := range slices.Sorted(maps.Keys(put)) {
		batch = appendChange(batch, opPut, name, put[name])
		undo[name] = f.set(name, append([]byte{}, put[name]...))
	}
	for _, name := range remove {
		if _, ok := f.records[name]; ok {
			batch = appendChange(batch, opDelete, name, nil)
			undo[name] = f.set(name, nil)
		}
	}
	if err := f.save(batch, keys[0]); err != nil {
		for name, old := range undo {
			f.set(name, old)
		}
		return fmt.Errorf("save to sealed cache: %w", err)
	}
	return nil
}

// set puts value, or removes the record when it is nil, and returns what was there.
func (f *File) set(name string, value []byte) []byte {
	old, had := f.records[name]
	if had {
		f.live -= changeSize(name, old)
	}
	if value == nil {
		delete(f.records, name)
		return old
	}
	f.records[name] = value
	f.live += changeSize(name, value)
	return old
}

// slack is how many dead bytes are always allowed.
const slack = 1 << 20

// save writes batch, or the whole file anew when that is due.
func (f *File) save(batch []byte, key Key) error {
	if f.out == nil || f.key != key || f.size+int64(len(batch)) > 2*f.live+slack || len(batch) > maxRecord/2 {
		if err := f.close(); err != nil {
			return err
		}
		return f.rewrite(key)
	}
	if len(batch) == 0 {
		return nil
	}
	rec := f.box.seal(batch)
	_, err := f.out.Write(rec)
	if err == nil {
		err = f.out.Sync()
	}
	if err != nil {
		if terr := f.out.Truncate(f.size); terr != nil {
			return errors.Join(err, terr, f.close()) // written anew next time
		}
		return err
	}
	f.box.advance()
	f.size += int64(len(rec))
	return nil
}

// close closes the file on disk; what is in memory stays.
func (f *File) close() error {
	if f.out == nil {
		return nil
	}
	out := f.out
	f.out = nil
	return out.Close()
}

// Close releases the file. It does not write.
func (f *File) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.unlock == nil {
		return nil
	}
	err := errors.Join(f.close(), f.unlock())
	f.unlock = nil
	return err
}
