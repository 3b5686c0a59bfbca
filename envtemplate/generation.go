package envtemplate

import (
	"context"
	"io/fs"
	"time"

	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/secret"
)

// Generation is one complete result: variables and files that belong together.
type Generation struct {
	ID      uint64          // rises with every change; the same ID with another Epoch changes nothing
	Vars    environ.Environ // the secret variables only
	Files   []RenderedFile  // sorted by path
	Changed []string        // names of variables and paths of files that differ from the Generation before
	Epoch   uint64          // oldest login anything in it depends on
	// Origins are the secrets each variable and file was made of; nil without Config.Origins.
	Origins map[string][]Origin

	Leases   []string  // of the secrets in it, sorted
	NotAfter time.Time // when the first certificate in it that was issued for us ends; zero = there is none

	write func(context.Context, Generation) error
}

// Origin is one secret a variable or file was made of.
type Origin struct {
	Request secret.Request
	Version int       // KV v2; 0 = none
	ReadAt  time.Time // when Vault said it
}

// RenderedFile is one file of a Generation.
type RenderedFile struct {
	Path        string
	Contents    secret.Text
	Mode        fs.FileMode // 0 = as the file has, else 0644
	User, Group string
	Backup      bool
	CreateDirs  bool
	Command     *Command
	// Variable is whose value this is, delivered as a file: its twin, Variable_FILE, holds
	// the path. "" = a file of its own.
	Variable string
	// Memory: WriteFiles leaves it to whoever starts the program to make a file in memory
	// and to put its path into the twin.
	Memory bool

	root string // symbolic links must not lead out of it; "" = anywhere
}

// label is what a change of f is called.
func (f RenderedFile) label() string {
	if f.Variable != "" {
		return f.Variable
	}
	return f.Path
}

// WriteFiles puts the files in place: all of them are staged beside their
// destination first, then renamed, so a full disk or a missing right changes none.
// Files that are as they should be are left alone. Then the commands of the changed
// files run, each once; one that fails gives a *CommandError, is owed and runs again
// with the next call, on any Generation.
func (g Generation) WriteFiles(ctx context.Context) error {
	if g.write == nil {
		return nil
	}
	return g.write(ctx, g)
}
