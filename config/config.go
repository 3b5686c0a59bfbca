package config

import (
	"time"

	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/secret"
)

// Config is everything envexec was told, complete and checked.
type Config struct {
	Word  Word     // envexec's own command; Run when there is none
	Words []string // operands of the command word, e.g. "install" after service

	Files   []string // the --config paths as given, in order
	Vault   Vault
	Login   Login
	Sinks   []Sink
	Secrets Secrets

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

	Settings []Setting // every effective value with its origin; only for check and --explain
	Warnings []Problem // doubts that do not stop us; all of them under --lenient

	autoAuth bool     // an auto_auth stanza was read
	asFile   []string // --as-file
	// exec.restart_on_secret_changes and exec.restart_stop_signal, which give way to the
	// change and stop stanzas.
	execPolicy, execSignal string
	noReaper, noRaise      Choice // --subreaper and --reraise: No is what counts
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

// Secrets names what is read from Vault and where it goes.
type Secrets struct {
	Variables    []Variable
	From         []From
	RenderFiles  []RenderFile
	Templates    []Template    // template stanzas
	EnvTemplates []EnvTemplate // env_template stanzas

	Refresh          time.Duration // re-read interval of static secrets, default 5m
	RefreshPaths     []RefreshPath // exceptions by path; already in Variables, From and RenderFiles
	Named            []Named       // by variable name; already in Variables and EnvTemplates
	RefreshSignal    string        // re-read all now, "" = none
	RenewalThreshold float64       // fraction of a lease's life, default 0.9
	// ExitOnRetryFailure: see Login.ExitOnErr.
	ExitOnRetryFailure Choice
	// References: expand vault:… references in the inherited environment. Default true.
	References bool
	// IgnoreMissing: an absent secret is an empty value and a warning (vault-env's habit).
	IgnoreMissing bool
	Upcase        bool // default of From.Upcase
	MaxConcurrent int  // requests to Vault at once, default 8
}

// Named is what a flag says about a variable by name: how it is delivered and what its
// change does.
type Named struct {
	Name     string
	Delivery string // "" = value
	OnChange ChangeRule
}

// RefreshPath gives one path its own re-read interval.
type RefreshPath struct {
	Path  string
	Every time.Duration
}

// Variable is one key of one secret as an environment variable.
type Variable struct {
	Name       string
	Reference  string // as written, without "vault:": path#key[#version] or ${vault:…} text
	Path       string // empty when Reference is text with references in it
	Key        string
	Version    int           // 0 = newest
	Refresh    time.Duration // 0 = default
	Optional   bool          // absent secret or key: Default, or no variable
	Default    string
	HasDefault bool
	Delivery   string // "value" (default), "file" or "memfd": NAME_FILE
	OnChange   ChangeRule
	Pos        Position
}

// From is all keys of one secret as environment variables.
type From struct {
	Path     string
	Version  int
	Prefix   string
	Upcase   bool
	Keys     []string // only these; empty = all
	Refresh  time.Duration
	Optional bool
	Delivery string
	OnChange ChangeRule
	Pos      Position
}

// RenderFile is a file from one key of a secret, or from a template file.
type RenderFile struct {
	Destination string
	Reference   string // path#key[#version]; empty when Source is set
	Path        string
	Key         string
	Version     int
	Source      string // template file
	Mode        uint32 // default 0600
	User        string // name or id; "" = ours
	Group       string
	Refresh     time.Duration
	Optional    bool
	Encoding    string // "" or "base64": decoded before writing
	OnChange    ChangeRule
	Pos         Position
}

// ChangeRule is what a changed secret does when it differs from Change; zero = as the program's.
type ChangeRule struct {
	Policy string   // "" or a policy of Change
	Signal string   // for policy signal
	Hook   []string // for policy hook
}

// Template is a template stanza: consul-template's keys.
type Template struct {
	Source            string
	Contents          string
	Destination       string
	CreateDestDirs    bool   // default true
	Perms             uint32 // 0 = keep existing, else 0644
	User, Group       string
	Backup            bool
	Command           []string // run after a change
	CommandTimeout    time.Duration
	CommandSplay      time.Duration
	CommandEnv        CommandEnv
	ErrorOnMissingKey Choice // Unset = strict
	ErrorFatal        Choice // Unset = true
	LeftDelimiter     string
	RightDelimiter    string
	SandboxPath       string
	FunctionDenylist  []string
	WaitMin, WaitMax  time.Duration
	Refresh           time.Duration
	OnChange          ChangeRule
	Pos               Position
}

// CommandEnv is the environment of a template's command.
type CommandEnv struct {
	Pristine  bool
	Custom    []string
	Allowlist []string
	Denylist  []string
}

// EnvTemplate is an env_template stanza.
type EnvTemplate struct {
	Name              string
	Source            string
	Contents          string
	ErrorOnMissingKey Choice // Unset = strict
	ErrorFatal        Choice // Unset = true
	LeftDelimiter     string
	RightDelimiter    string
	FunctionDenylist  []string
	Refresh           time.Duration
	Delivery          string
	OnChange          ChangeRule
	Pos               Position
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

// Listener is a Vault listener of our own.
type Listener struct {
	Type                 string // tcp or unix
	Address              string
	Role                 string // "" or default, metrics_only
	RequireRequestHeader bool
	EnableQuit           bool
	SocketMode           uint32 // 0 = 0600
	SocketUser           string
	SocketGroup          string
	AllowUsers           []string // peer credentials; empty = owner of the socket's mode
	Namespace            string   // fixed namespace of requests; "" = as asked
	TLSDisable           bool
	TLSCertFile          string
	TLSKeyFile           string
	TLSMinVersion        string // tls12
	TLSMaxVersion        string // tls13
	TLSCipherSuites      []string
	TLSRequireClientCert bool
	TLSClientCAFile      string
	TLSDisableClientCert bool
	MaxRequestSize       int64 // bytes; 0 = unlimited
	Child                bool  // made by --listen-vault: the program gets its VAULT_ADDR
	Pos                  Position
}

// APIProxy is how requests to the listeners are forwarded.
type APIProxy struct {
	Enabled                    bool
	UseAutoAuthToken           bool
	ForceAutoAuthToken         bool
	EnforceConsistency         string // never (default) or always
	WhenInconsistent           string // fail (default), retry, forward
	PrependConfiguredNamespace bool
	ChildToken                 bool     // the program gets a bearer of its own
	ChildPaths                 []string // path prefixes the bearer may use; empty = all
}

// Cache is the listeners' cache.
type Cache struct {
	Enabled               bool
	StaticSecrets         bool
	DisableDynamicSecrets bool
	CapabilityInterval    time.Duration // default 5m
	CapabilityPessimistic bool
	MaxAge                time.Duration // hard maximum age of static secrets, default 10s
	MaxAgeOffline         time.Duration // the same while Vault is unreachable, default 5m
	MaxBytes              int64         // default 64 MiB
	ShareLogins           bool
	Persist               Persist
}

// Persist is the sealed file on disk.
type Persist struct {
	Type            string // "" (off), kubernetes, file, credential, passphrase
	Path            string // directory
	KeepAfterImport bool
	ExitOnErr       bool
	TokenFile       string // kubernetes
	KeyFile         string // file
	OldKeyFile      string // file: key before the last rotation
	Credential      string // systemd credential's name
	PassphraseEnv   string // variable with the passphrase
	MaxAge          time.Duration
	Fallback        time.Duration // an unanswering Vault is given up after this, default 2s
	Pos             Position
}

// Start rules the way to the program's first start and the end of the job.
type Start struct {
	Timeout       time.Duration // 0 = for ever
	Once          bool          // read once, never renew or rotate
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
	Prefix              string // default vault
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
	Format     string // text or json; render: env, json, dotenv, github, gitlab, names
	ShowValues bool
	Output     string
	Yes        bool // init: overwrite, ask nothing
	PID        int  // status, reload: the envexec that is asked; 0 = the only one
}
