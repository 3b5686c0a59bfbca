package config

import (
	"encoding/json"
	"maps"
	"strings"

	"github.com/envexec/envexec/environ"
)

// cliVariables reads what the vault CLI knows besides the variables of the options.
func cliVariables(d *decoder, c *Config) {
	agentAddress(d, c)
	headersVariable(d, c)
}

// agentAddress lets VAULT_AGENT_ADDR go before VAULT_ADDR, as the vault CLI does. Where we
// do an agent's work ourselves it is passed over, as Vault's own agent does: it may name us.
func agentAddress(d *decoder, c *Config) {
	const name = "VAULT_AGENT_ADDR"
	v := &c.Vault
	from := d.origins[&v.Address]
	text := value(c.Environment.Inherited, name)
	if text == "" || len(c.Files) > 0 || len(c.Listeners) > 0 || strings.HasPrefix(from, "--") || strings.HasPrefix(from, "ENVEXEC_") {
		return
	}
	if err := checkAddress(&v.Address, text); err != nil {
		d.failSource(name, err.Error(), "")
		return
	}
	d.origins[&v.Address] = name
}

// headersVariable adds the headers of VAULT_HEADERS that nobody has named otherwise.
func headersVariable(d *decoder, c *Config) {
	const name = "VAULT_HEADERS"
	text := value(c.Environment.Inherited, name)
	if text == "" {
		return
	}
	var headers map[string]string
	if json.Unmarshal([]byte(text), &headers) != nil { // the cause may quote a credential
		d.failSource(name, `is no JSON object of texts, as {"X-Team": "blue"}`, "")
		return
	}
	v := &c.Vault
	maps.Copy(headers, v.Headers)
	v.Headers = headers
	if d.origins[&v.Headers] == "" {
		d.origins[&v.Headers] = name
	}
}

// tokenOfLogin takes VAULT_TOKEN=vault:login, by which users of vault-env ask for the token
// of the login in the program: it is no token, so another login is chosen.
func tokenOfLogin(d *decoder, c *Config, env environ.Environ) environ.Environ {
	const asked = "vault:login"
	if value(env, "VAULT_TOKEN") != asked {
		return env
	}
	if to := &c.Login.ProgramToken; d.origins[to] == "" {
		*to, d.origins[to] = true, "VAULT_TOKEN="+asked
	}
	return env.Strip("VAULT_TOKEN")
}
