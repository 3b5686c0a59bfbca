package config

// Setting is one effective value and where it came from.
type Setting struct {
	Key     string   `json:"key"`            // dotted name as in a file, e.g. template_config.static_secret_render_interval
	Value   string   `json:"value"`          // text; secrets are never shown
	Origin  string   `json:"origin"`         // "default", "--refresh", "ENVEXEC_REFRESH" or file:line:column
	Flag    string   `json:"flag,omitempty"` // "" = none
	Env     []string `json:"env,omitempty"`
	Default string   `json:"default"`
}
