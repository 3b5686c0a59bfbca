package config

import (
	"time"

	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/secret"
)

// Config is everything envexec was told, complete and checked.
type Config struct {
	Word  Word     // envexec's own command; Run when there is none
	Words []string // operands of the command word

	WorkDir string   // where relative paths begin: the directory at the start
	Files   []string // the --config paths as given, in order
	Vault   Vault
	// AddressFrom is where Vault.Address came from: a place in a file, a variable, a flag; "" = the default.
	AddressFrom string
	Login       Login
	Sinks       []Sink
	Secrets     Secrets

	Program     Program
	Environment Environment
	Change      Change
	Restart     Restart
	Stop        Stop
	Ready       Ready
	Sockets     []Socket // listening sockets held for the program

	Listeners []Listener // Vault listeners of our own
	APIProxy  APIProxy
	Cache     Cache

	Start     Start
	Log       Log
	Telemetry Telemetry
	Admin     string // status socket: "auto", "off" or a path
	PIDFile   string
	Check     CheckOptions
	Service   ServiceOptions

	Settings []Setting // every effective value with its origin; only for check and --explain
	Warnings []Problem // doubts that do not stop us; all of them under --lenient

	args     []string // what was parsed, for Again
	env      environ.Environ
	autoAuth bool     // an auto_auth stanza was read
	asFile   []string // --as-file
	// exec.restart_on_secret_changes and exec.restart_stop_signal, which give way to the
	// change and stop stanzas.
	execPolicy, execSignal string
	signalMap, mapExit     []string // Program's pairs as they were written
	noReaper, noRaise      Choice   // --subreaper and --reraise: No is what counts
}

// Word is a command of envexec's own.
type Word string

// The command words.
const (
	Run        Word = ""
	Check      Word = "check"
	Render     Word = "render"
	Init       Word = "init"
	Proxy      Word = "proxy"
	Status     Word = "status"
	Reload     Word = "reload"
	Service    Word = "service"
	Version    Word = "version"
	Help       Word = "help"       // --help; Config.Words holds the text
	Completion Word = "completion" // completion SHELL; Config.Words holds the script
)

// Choice is a boolean whose absence means something else than false.
type Choice uint8

// The values of Choice.
const (
	Unset Choice = iota
	No
	Yes
)

// Vault says how the server is reached.
type Vault struct {
	Address       string // default https://127.0.0.1:8200
	Namespace     string // canonical, with trailing slash; "" = root
	CACert        string // path
	CACertBytes   string // PEM text
	CAPath        string // directory
	ClientCert    string // path
	ClientKey     string // path
	TLSServerName string
	TLSSkipVerify bool

	DisableRedirects bool
	ClientTimeout    time.Duration     // one request, default 60s
	NumRetries       int               // retries of proxied requests, default 12
	RateLimit        string            // "rate[:burst]" per second; "" = none
	SRVLookup        bool              // resolve the address by DNS SRV
	ProxyAddress     string            // HTTP proxy for Vault traffic only
	Headers          map[string]string // sent with every request

	MaxConnections     int      // per host, default 10; 0 = unlimited
	DisableIdle        []string // auto-auth, caching, proxying, templating
	DisableKeepAlives  []string
	ConfiguredByFile   bool // a vault stanza was read
	NamespaceFromLogin bool // Namespace came from auto_auth.method.namespace
}

// Login says who we are to Vault.
type Login struct {
	// Method is "" (no credentials found), "token" (Token or TokenFile is given) or the
	// name of an auth method: approle, aws, cert, jwt, kubernetes, token_file, ….
	Method    string
	MountPath string // without trailing slash, e.g. auth/approle
	Namespace string // of the login only; "" = Vault.Namespace
	Token     secret.Text
	TokenFile string // ~/.vault-token or the like

	// Settings are the method's own keys as its config map has them in a file: strings,
	// json-like numbers (int, float64), bools, lists. Values that are credentials
	// themselves (role_id, secret_id, password, jwt …) given by variable are secret.Text.
	Settings map[string]any

	WrapTTL    time.Duration
	MinBackoff time.Duration // default 1s
	MaxBackoff time.Duration // default 5m
	// ExitOnErr: Unset ends at once on what cannot heal before the first start, No keeps
	// trying until Start.Timeout, Yes ends at any failure.
	ExitOnErr    Choice
	ReauthOnNew  bool   // log in again when the credential file changes
	Revoke       bool   // revoke our own token at the end (false under --no-revoke)
	Source       string // why this login was chosen, in words
	ProgramToken bool   // the program gets VAULT_TOKEN
}

// Sink is a file that receives the token.
type Sink struct {
	Type      string // file
	Path      string
	Mode      uint32 // default 0640
	Owner     int    // -1 = ours
	Group     int    // -1 = ours
	WrapTTL   time.Duration
	DHType    string // curve25519
	DHPath    string
	DeriveKey bool
	AAD       string
	Pos       Position
}

// Program is what envexec runs.
type Program struct {
	Args        []string // program and arguments; empty = agent without a program
	Dir         string   // working directory; "" = ours
	User        string   // name[:group] or uid[:gid]; "" = ours
	Exec        bool     // become the program instead of supervising it
	Stdout      string   // file instead of our stdout
	Stderr      string
	SignalMap   []SignalPair
	SignalGroup bool // signals go to the whole process group
	MapExit     []ExitPair
	NoSubreaper bool // orphans of the program are not ours to reap
	NoReraise   bool // end with 128+n instead of dying of the program's signal
	// FromFile: Args come from exec.command, not from the command line.
	FromFile bool
	Pos      Position
}

// SignalPair rewrites signal From to To before it reaches the program; To "0" drops it.
type SignalPair struct{ From, To string }

// ExitPair maps one exit status of the program to another.
type ExitPair struct{ From, To int }

// Environment says what the program inherits.
type Environment struct {
	Inherited  environ.Environ // ours with the env files merged in; references not expanded, nothing stripped
	Files      []string        // env files, merged in order
	Clear      bool            // start from nothing but Keep
	Keep       []string        // names or globs kept although cleared or stripped
	OnConflict string          // secret meets inherited name: override (default), keep, error
	// Strip are the names of credential variables that never reach the program unless kept.
	Strip []string
}

// Change is the rotation policy.
type Change struct {
	Policy    string // restart (default), overlap, signal, hook, exit, none
	Signal    string // for policy signal: name without SIG, default HUP
	Hook      []string
	ExitCode  int           // for policy exit, default 0
	Quiet     time.Duration // wait for quiet, default 500ms
	QuietMax  time.Duration // but never longer, default 5s
	Splay     time.Duration // random delay before acting, default 0
	MinUptime time.Duration // program counts as settled after this, default 10s
	Limit     int           // at most Limit rotations in Interval; 0 = no limit
	Interval  time.Duration
	Window    string        // maintenance window "HH:MM-HH:MM", local time; "" = always
	Soak      time.Duration // overlap: new program must stay ready this long
}

// Restart is the crash policy.
type Restart struct {
	On         string        // no (default), on-failure, on-abnormal, always
	MinBackoff time.Duration // default 1s
	MaxBackoff time.Duration // default 60s
	ResetAfter time.Duration // default 60s of health
	Limit      int           // starts in Interval, default 5; 0 = no limit
	Interval   time.Duration // default 10s
	Success    []string      // statuses and signals that count as success
	Prevent    []string      // never restarted
	Force      []string      // always restarted
}

// Stop is how the program is ended.
type Stop struct {
	Signal  string        // our own stops: name without SIG, default TERM; "" = only KILL
	Timeout time.Duration // until KILL, default 30s; 0 = for ever
	Grace   time.Duration // for leftovers after the program's end, default 3s
	// TermTimeout bounds a stop that was asked for from outside; 0 = never KILL, for then
	// the deadline is the asker's. It is Timeout once anybody has set that.
	TermTimeout  time.Duration
	LeaveOrphans bool // what the program leaves behind is left alone
}

// Ready is how the program says it is ready.
type Ready struct {
	Type    string // none (default), notify, fd, exec, tcp, http, delay
	FD      int
	Command []string
	Address string // tcp host:port, http URL
	Header  string // http: this answer header must equal ENVEXEC_GENERATION; "" = not asked for
	Delay   time.Duration
	Timeout time.Duration // default 60s
}

// Socket is a listening socket held for the program (LISTEN_FDS).
type Socket struct {
	Name    string
	Network string // tcp, tcp4, tcp6, udp, unix, unixgram
	Address string
	Mode    uint32 // unix only; 0 = 0600
	User    string
	Group   string
	Pos     Position
}

// Start rules the way to the program's first start and the end of the job.
type Start struct {
	Timeout       time.Duration // 0 = for ever
	Once          bool          // read once; leases are kept alive, nothing is read again or rotated
	ExitAfterAuth bool          // end when everything is written, without a program
	ReloadSignal  string        // signal that makes us read the configuration anew; "" = SIGHUP without a program
}

// Log says how envexec speaks.
type Log struct {
	Level          string // trace, debug, info, warn, error
	Format         string // text or json
	File           string
	RotateBytes    int64
	RotateDuration time.Duration
	RotateMaxFiles int
}

// Telemetry is the metrics stanza.
type Telemetry struct {
	Enabled             bool
	Prefix              string // first part of the metrics' names
	PrometheusRetention time.Duration
	DisableHostname     bool
	StatsdAddress       string
	StatsiteAddress     string
	DogstatsdAddress    string
	DogstatsdTags       []string
	PrefixFilter        []string
	FilterDefault       bool
	EnableHostnameLabel bool
}

// CheckOptions are the flags of check, render and init.
type CheckOptions struct {
	Offline    bool
	Lenient    bool
	Explain    bool
	Format     string // "" = text (names for render), json; render: env, dotenv, github, gitlab too
	ShowValues bool
	Output     string
	Yes        bool // init: overwrite, ask nothing
	PID        int  // status, reload: the envexec that is asked; 0 = the only one
}
