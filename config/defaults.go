package config

import "time"

// defaults is the one table of what holds when nobody says anything.
func defaults() *Config {
	return &Config{
		Vault:       defaultVault(),
		Login:       defaultLogin(),
		Secrets:     Secrets{Refresh: 5 * time.Minute, RenewalThreshold: 0.9, References: true, MaxConcurrent: 8, TransitMount: "transit"},
		Environment: Environment{OnConflict: "override"},
		Change:      defaultChange(),
		Restart:     defaultRestart(),
		Stop:        Stop{Signal: "TERM", Timeout: 30 * time.Second, Grace: 3 * time.Second},
		Ready:       Ready{Type: "none", Timeout: time.Minute},
		APIProxy:    defaultAPIProxy(),
		Cache:       Cache{CapabilityInterval: 5 * time.Minute, MaxAge: 10 * time.Second, MaxAgeEvents: time.Minute, MaxAgeOffline: 5 * time.Minute, MaxBytes: 64 << 20, behavior: "optimistic"},
		Log:         Log{Level: "info", Format: "text", RotateDuration: 24 * time.Hour},
		Telemetry:   Telemetry{Prefix: "envexec", PrometheusRetention: 24 * time.Hour, FilterDefault: true},
		Admin:       "auto",
		execSignal:  "TERM",
	}
}

func defaultVault() Vault {
	return Vault{Address: "https://127.0.0.1:8200", ClientTimeout: time.Minute, NumRetries: 12, MaxConnections: 10}
}

func defaultLogin() Login {
	return Login{MinBackoff: time.Second, MaxBackoff: 5 * time.Minute, Revoke: true}
}

func defaultChange() Change {
	return Change{Policy: "restart", Signal: "HUP", Quiet: 500 * time.Millisecond, QuietMax: 5 * time.Second, MinUptime: 10 * time.Second}
}

func defaultRestart() Restart {
	return Restart{On: "no", MinBackoff: time.Second, MaxBackoff: time.Minute, ResetAfter: time.Minute, Limit: 5, Interval: 10 * time.Second}
}

func defaultAPIProxy() APIProxy {
	return APIProxy{EnforceConsistency: "never", WhenInconsistent: "fail"}
}

func defaultTemplate() Template {
	return Template{CreateDestDirs: true, CommandTimeout: 30 * time.Second, LeftDelimiter: "{{", RightDelimiter: "}}"}
}

func defaultEnvTemplate() EnvTemplate {
	return EnvTemplate{LeftDelimiter: "{{", RightDelimiter: "}}", Delivery: "value"}
}

func defaultListener() Listener {
	return Listener{TLSMinVersion: "tls12", TLSMaxVersion: "tls13"}
}

func defaultSink() Sink { return Sink{Mode: 0o640, Owner: -1, Group: -1} }

// startTimeoutOnce is how long --once waits for Vault.
const startTimeoutOnce = time.Minute
