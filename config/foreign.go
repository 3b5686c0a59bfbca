package config

// foreignFlags are flags of vault, consul-template, envconsul and the like, by what to write here.
var foreignFlags = map[string]string{
	"ns":                          "write --namespace",
	"vault-addr":                  "write --address",
	"vault-namespace":             "write --namespace",
	"agent-address":               "write --address",
	"vault-token":                 "a token on a command line is for all to see: set VAULT_TOKEN or --token-file",
	"token":                       "a token on a command line is for all to see: set VAULT_TOKEN or --token-file",
	"vault-agent-token-file":      "write --token-file",
	"vault-unwrap-token":          "unwrap it before: VAULT_TOKEN=\"$(vault unwrap -field=token)\"",
	"vault-renew-token":           "tokens are always renewed: leave it out",
	"vault-retry":                 "requests are always retried: write --max-retries to bound it",
	"vault-retry-attempts":        "write --max-retries",
	"vault-ssl-ca-cert":           "write --ca-cert",
	"vault-ssl-ca-path":           "write --ca-path",
	"vault-ssl-cert":              "write --client-cert",
	"vault-ssl-key":               "write --client-key",
	"vault-ssl-server-name":       "write --tls-server-name",
	"secret":                      "write --from PATH",
	"no-prefix":                   "the path is never put before names: leave it out",
	"sanitize":                    "names are always made valid: leave it out",
	"pristine":                    "write --clear-env",
	"no-inherit-env":              "write --clear-env",
	"only-secrets":                "write --clear-env",
	"preserve-env":                "write --on-conflict keep",
	"duplicate-variable-behavior": "write --on-conflict",
	"inherit-env-blacklist":       "write --clear-env with --keep-env",
	"secrets-file":                "write --env-file",
	"template":                    "write --file OUT=IN",
	"wait":                        "write --quiet MIN and --quiet-max MAX",
	"dry":                         "write envexec render --show-values",
	"parse-only":                  "write envexec check --offline",
	"test-verify-only":            "write envexec check --offline",
	"exec-kill-signal":            "write --stop-signal",
	"exec-kill-timeout":           "write --stop-timeout",
	"kill-signal":                 "write --stop-signal",
	"exec-splay":                  "write --splay",
	"exec-reload-signal":          "write --on-change signal:SIGNAL",
	"rewrite":                     "write --signal-map",
	"forward-signals":             "signals are always forwarded: leave it out",
	"watch":                       "secrets are always watched: leave it out, or write --on-change",
	"fallback":                    "see cache.persist in the configuration reference",
	"non-interactive":             "envexec never asks in a run: leave it out",
}

// foreignKeys are keys of Nomad's template and of consul-template, by what to write here.
var foreignKeys = map[string]string{
	"template.data":          "write contents",
	"template.env":           "for variables write an env_template \"NAME\" stanza for each, or from",
	"template.change_mode":   "write an on_change stanza here, with policy restart, signal, hook or none",
	"template.change_signal": `write an on_change stanza here, with policy = "signal" and signal`,
	"template.change_script": `write an on_change stanza here, with policy = "hook" and hook, or command`,
	"template.splay":         "write splay in the change stanza, or in exec here for the command alone",
	"template.once":          "write once in the start stanza, or --once",
	"template.vault_grace":   "leases are always replaced in time: leave it out",
}

// foreignWords are commands of the same tools.
var foreignWords = map[string]string{
	"agent":           "write envexec --config FILE",
	"generate-config": "write envexec init",
	"help":            "write envexec --help",
	"completion":      "write envexec --completion bash",
	"run":             "write envexec -- PROGRAM",
	"exec":            "write envexec -- PROGRAM",
	"validate":        "write envexec check",
}
