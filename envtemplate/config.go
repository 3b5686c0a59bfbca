package envtemplate

import (
	"context"
	"io/fs"
	"log/slog"
	"time"

	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/secret"
)

// Source is where secrets come from: a reader's view of the lease store.
type Source interface {
	// Get returns a secret, waiting for it. Errors that do not heal come back at
	// once (secret.ErrMissing, secret.ErrForbidden and others), the rest only when ctx ends.
	Get(ctx context.Context, req secret.Request) (*secret.Secret, error)
	// Changed receives when Take has keys or Epoch moved.
	Changed() <-chan struct{}
	// Take returns the keys whose secret is new since the last Take.
	Take() []secret.Key
	// Release says that nobody here uses keys any more.
	Release(keys ...secret.Key)
	// Epoch is the oldest login the secrets in use depend on.
	Epoch() uint64
}

// Config says what to render. Only Source is required.
type Config struct {
	Source Source

	Variables    []Variable
	From         []From
	Files        []File
	Templates    []Template
	EnvTemplates []EnvTemplate

	// Env is what the template function env sees; our own environment is never read.
	Env environ.Environ
	// IgnoreMissing makes every absent secret or key of Variables an empty value and a warning.
	IgnoreMissing bool
	// Patient keeps trying where a problem does not heal by itself, also before the first Generation.
	Patient bool
	// Lenient lets templates with functions that are refused at load pass with a
	// warning; calling such a function is then an error.
	Lenient bool
	// RenewalThreshold is the fraction of its life after which a certificate found in its
	// files is replaced; 0 = 0.9.
	RenewalThreshold float64
	// CertMinRemaining is how long before its end it is replaced at the latest.
	CertMinRemaining time.Duration
	// Transit decrypts vault:v1:… values.
	Transit Transit
	// Delivery is where values delivered as files go.
	Delivery Delivery
	// RunCommand runs a template's command after its file changed; required if one has a command.
	RunCommand func(ctx context.Context, c Command) error

	// Origins makes every Generation say where its variables and files come from.
	Origins bool

	Logger *slog.Logger // nil = none
	Trace  Trace

	settle     time.Duration                       // how long one slow unit holds up the others, default 1s
	minBackoff time.Duration                       // of a failed unit, default 1s
	maxBackoff time.Duration                       // default 5m
	poll       time.Duration                       // of template and included files, default 30s
	now        func() time.Time                    // wall clock, for certificates
	jitter     func(d time.Duration) time.Duration // full jitter
	notify     func() (notifier, error)            // of changed files
}

// Trace is told what happens. Every function may be nil; none may block.
type Trace struct {
	OnRender     func(name string, took time.Duration) // a unit's result is there
	OnError      func(name string, err error)          // a unit failed; never quotes a value
	OnGeneration func(g Generation)                    // sent, changed or with a new epoch
}

// Variable is one environment variable. Either Text or Path and Key are set.
type Variable struct {
	Name string
	// Text is a value as in the environment: "vault:path#key", or text with ${vault:…} in it.
	Text string

	Path    string
	Key     string
	Version int // KV v2; 0 = newest

	Optional   bool   // an absent secret or key is Default, or no variable at all
	Default    string // used if HasDefault
	HasDefault bool

	Refresh time.Duration // re-read interval; 0 = the source's default
	// Delivery is "" or "value"; "file": NAME_FILE names a file in Config.Delivery with
	// the value; "memfd": the same, see RenderedFile.Memory.
	Delivery string
}

// From is all keys of one secret as variables.
type From struct {
	Path     string
	Version  int
	Prefix   string
	Upcase   bool
	Keys     []string // only these, each must be there; empty = all
	Optional bool     // an absent secret is no variables
	Refresh  time.Duration
	Delivery string // as Variable.Delivery
}

// File is a file with one key of a secret, or with a template's text.
type File struct {
	Destination string
	Path        string
	Key         string
	Version     int
	Source      string      // template file; then Path and Key are empty
	Mode        fs.FileMode // 0 = 0600
	User, Group string      // name or id; "" = ours
	Encoding    string      // "" or "base64": decoded before writing
	Optional    bool        // an absent secret or key: no file is written
	Refresh     time.Duration
}

// Template is a template that becomes a file.
type Template struct {
	Source           string // file, or
	Contents         string // the text itself
	Destination      string
	NoCreateDirs     bool          // fail if the directory is absent, else it is made 0755
	Perms            fs.FileMode   // 0 = as the file has, else 0644
	User, Group      string        // name or id; "" = ours
	Backup           bool          // keep the last version as Destination.bak
	AllowMissingKey  bool          // a missing key is empty text and a warning
	KeepOnError      bool          // an error does not end Run before the first Generation (error_fatal = false)
	LeftDelim        string        // "" = {{
	RightDelim       string        // "" = }}
	SandboxPath      string        // file and writeToFile stay below it
	FunctionDenylist []string      // globs
	WaitMin, WaitMax time.Duration // after a change wait for quiet, but not longer; 0 = 4 × WaitMin
	Refresh          time.Duration
	Command          *Command // after the file changed; nil = none
}

// EnvTemplate is a template that becomes a variable.
type EnvTemplate struct {
	Name             string
	Source           string
	Contents         string
	AllowMissingKey  bool
	KeepOnError      bool
	LeftDelim        string
	RightDelim       string
	FunctionDenylist []string
	Refresh          time.Duration
	Delivery         string // as Variable.Delivery
}

// Command is run after a file changed. Equal commands of one Generation run once.
type Command struct {
	Args      []string
	Timeout   time.Duration // 0 = 30s
	Splay     time.Duration // random delay before it
	Pristine  bool          // nothing inherited but Env
	Env       []string      // NAME=value added
	Allowlist []string      // globs of inherited names
	Denylist  []string
}

// Transit says which key decrypts values of the form vault:v1:….
type Transit struct {
	Mount string // default transit
	Key   string // "" = such values are an error
}

// Delivery says where values delivered as files go.
type Delivery struct {
	Dir      string // a directory of our own on tmpfs; required for such values
	UID, GID int    // who reads them; 0, 0 = ours
}
