package config

import "time"

// Listener is a Vault listener of our own.
type Listener struct {
	Type                 string // tcp or unix
	Address              string
	Role                 string // "" or default, metrics_only, admin, proxy_only
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
	MaxRequestSize       int64         // bytes of a body; 0 = unlimited
	MaxHeaderBytes       int           // 0 = 64 KiB
	MaxConnections       int           // at once; 0 = unlimited
	ReadHeaderTimeout    time.Duration // 0 = 10s
	IdleTimeout          time.Duration // 0 = 5m
	Child                bool          // made by --listen-vault: the program gets its VAULT_ADDR
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
	MaxAgeEvents          time.Duration // the same while the server tells of its changes, default 1m
	MaxAgeOffline         time.Duration // the same while Vault is unreachable, default 5m
	MaxBytes              int64         // default 64 MiB
	ShareLogins           bool
	behavior              string // CapabilityPessimistic in the file's words
	Persist               Persist
}

// Persist is the sealed file on disk.
type Persist struct {
	Type             string // "" (off), kubernetes, file, credential, passphrase
	Path             string // directory
	KeepAfterImport  Choice // Unset = keep
	ExitOnErr        bool
	TokenFile        string // kubernetes
	KeyFile          string // file
	OldKeyFile       string // the key before the last rotation; so are the other Old…
	Credential       string // systemd credential's name
	OldCredential    string
	PassphraseEnv    string // variable with the passphrase
	OldPassphraseEnv string
	MaxAge           time.Duration // of one secret's last confirmation, default 24h
	Fallback         time.Duration // an unanswering Vault is given up after this, default 2s
	Pos              Position
}
