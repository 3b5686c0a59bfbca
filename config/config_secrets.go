package config

import "time"

// Secrets names what is read from Vault and where it goes.
type Secrets struct {
	Variables    []Variable
	From         []From
	RenderFiles  []RenderFile
	Templates    []Template    // template stanzas
	EnvTemplates []EnvTemplate // env_template stanzas

	Refresh          time.Duration // re-read interval of static secrets, default 5m
	RefreshPaths     []RefreshPath // exceptions by path; the last that fits counts, above a Refresh of what names the secret
	Named            []Named       // by variable name; already in Variables and EnvTemplates
	RefreshSignal    string        // re-read all now, "" = none
	RenewalThreshold float64       // fraction of a lease's life, default 0.9
	CertMinRemaining time.Duration // a certificate is replaced at least this long before its end
	// ExitOnRetryFailure: see Login.ExitOnErr.
	ExitOnRetryFailure Choice
	TransitKey         string // decrypts vault:v1:… values; "" = such values are an error
	TransitMount       string // default transit
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
	Delivery string // "" = value, file or memfd
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
