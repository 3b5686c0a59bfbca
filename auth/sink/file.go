package sink

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/envexec/envexec/internal/files"
	"github.com/envexec/envexec/secret"
)

// Keep leaves the owner or group as the process makes it.
const Keep = -1

// FileConfig says which file a token goes to.
type FileConfig struct {
	Path string      // required
	Mode fs.FileMode // permission bits, set whatever the umask is; 0 = 0640
	UID  int         // Keep = as the process makes it; ignored on Windows
	GID  int
}

// File writes each token to one file. Readers see the old or the new content,
// never a part, and a symlink at the path is replaced, not followed.
type File struct{ cfg FileConfig }

// NewFile checks c. It writes nothing: see Check.
func NewFile(c FileConfig) (*File, error) {
	if c.Path == "" {
		return nil, errors.New("file sink: a path is required")
	}
	if c.Mode == 0 {
		c.Mode = 0o640
	}
	if c.Mode&^fs.ModePerm != 0 {
		return nil, fmt.Errorf("file sink %q: the mode may only have permission bits", c.Path)
	}
	return &File{cfg: c}, nil
}

// Check makes and removes a temporary file beside the path, as a write would,
// so that a missing right shows at start. The file itself is not touched.
func (f *File) Check() error {
	tmp, err := f.temporary(nil)
	if err != nil {
		return err
	}
	return os.Remove(tmp)
}

// WriteToken replaces the file by one that holds the token and nothing else.
func (f *File) WriteToken(ctx context.Context, t secret.Token) error {
	return f.Write(ctx, []byte(t.ID.Reveal()))
}

// Write replaces the file by one with this content. One that comes too late, when ctx has
// ended, leaves it as it is: it may hold something newer.
func (f *File) Write(ctx context.Context, content []byte) error {
	tmp, err := f.temporary(content)
	if err != nil {
		return err
	}
	if err := ctx.Err(); err != nil {
		_ = os.Remove(tmp)
		return fmt.Errorf("write sink %q: %w", f.cfg.Path, err)
	}
	if err := files.Replace(tmp, f.cfg.Path); err != nil {
		_ = os.Remove(tmp)
		return fmt.Errorf("write sink: %w", err)
	}
	_ = files.SyncDir(filepath.Dir(f.cfg.Path)) // the content is safe either way
	return nil
}

// temporary makes the new file complete and on disk, and returns its name.
func (f *File) temporary(content []byte) (name string, err error) {
	if info, err := os.Lstat(f.cfg.Path); err == nil && !info.Mode().IsRegular() && info.Mode()&fs.ModeSymlink == 0 {
		return "", fmt.Errorf("write sink %q: what is there is no regular file, and a sink would replace it", f.cfg.Path)
	}
	file, err := files.CreateTemp(filepath.Dir(f.cfg.Path), "."+filepath.Base(f.cfg.Path)+".tmp-*", f.cfg.Mode, "")
	if err != nil {
		return "", fmt.Errorf("write sink: %w", err)
	}
	defer func() {
		if err != nil {
			_ = file.Close()
			_ = os.Remove(file.Name())
		}
	}()
	// Owner and mode come before the content: nobody else may read it for a moment.
	if err := chown(file, f.cfg.UID, f.cfg.GID); err != nil {
		return "", fmt.Errorf("write sink %q: set its owner: %w", f.cfg.Path, err)
	}
	if err := files.SetMode(file, f.cfg.Mode); err != nil {
		return "", fmt.Errorf("write sink %q: set its mode: %w", f.cfg.Path, err)
	}
	if _, err := file.Write(content); err != nil {
		return "", fmt.Errorf("write sink %q: %w", f.cfg.Path, err)
	}
	if err := file.Sync(); err != nil {
		return "", fmt.Errorf("write sink %q: %w", f.cfg.Path, err)
	}
	if err := file.Close(); err != nil {
		return "", fmt.Errorf("write sink %q: %w", f.cfg.Path, err)
	}
	return file.Name(), nil
}
