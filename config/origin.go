package config

// Setting is one effective value and where it came from.
type Setting struct {
	Key     string // dotted name as in a file, e.g. template_config.static_secret_render_interval
	Value   string // text; secrets are never shown
	Origin  string // "default", "--refresh", "ENVEXEC_REFRESH" or file:line:column
	Flag    string // "" = none
	Env     []string
	Default string
}
