package envtemplate

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/envexec/envexec/secret"
)

// functions is every function Vault's agent documents for its templates that has to do
// with neither Consul nor Nomad.
const functions = `secret secrets pkiCert file
	base64Decode base64Encode base64URLDecode base64URLEncode contains containsAll containsAny containsNone containsNotAll
	env mustEnv envOrDefault executeTemplate explodeMap mergeMap mergeMapWithOverride in indent loop join trim trimPrefix
	trimSuffix trimSpace parseBool parseFloat parseInt parseJSON parseUint parseYAML plugin regexReplaceAll regexMatch
	replaceAll sha256Hex md5sum hmacSHA256Hex timestamp toLower toUpper toTitle toJSON toJSONPretty toUnescapedJSON
	toUnescapedJSONPretty toTOML toYAML split splitToMap sockaddr writeToFile scratch
	add subtract multiply divide modulo minimum maximum spew_dump spew_printf spew_sdump spew_sprintf`

// elsewhere are those that other tests of this package show, because they need a file or are refused.
const elsewhere = `pkiCert file plugin writeToFile spew_dump spew_printf`

// examples is what a template is and what it becomes, as Vault's documentation describes it.
var examples = []struct{ name, text, want string }{
	// Secrets.
	{"KV 2", `{{ with secret "secret/data/app" }}{{ .Data.data.user }}{{ end }}`, "admin"},
	{"KV 2's metadata", `{{ with secret "secret/data/v" }}{{ .Data.metadata.version }}{{ end }}`, "3"},
	{"KV 1", `{{ with secret "kv1/app" }}{{ .Data.k }}{{ end }}`, "one"},
	{"a version", `{{ with secret "kv1/app?version=2" }}{{ .Data.k }}{{ end }}`, "two"},
	{"database login", `{{- with secret "database/creds/app" -}}
user={{ .Data.username }}
password={{ .Data.password }}
{{- end }}`, "user=u1\npassword=p1"},
	{"its lease", `{{ with secret "database/creds/app" }}{{ .LeaseID }} {{ .LeaseDuration }} {{ .Renewable }}{{ end }}`, "lease-1 3600 true"},
	{"a write", `{{ with secret "transit/encrypt/k" "plaintext=aGk=" }}{{ .Data.ciphertext }}{{ end }}`, "vault:v1:xyz"},
	{"export of all keys", `{{ with secret "secret/data/few" }}{{ range $k, $v := .Data.data }}export {{ $k }}={{ $v | toJSON }}
{{ end }}{{ end }}`, "export a=\"1\"\nexport b=\"x \\\"y\\\"\"\n"},
	{"keys in upper case", `{{ with secret "secret/data/few" }}{{ range $k, $v := .Data.data }}{{ $k | toUpper }}={{ $v }};{{ end }}{{ end }}`, `A=1;B=x "y";`},
	{"list", `{{ range secrets "secret/metadata/" }}{{ . }} {{ end }}`, "a b c/ "},
	{"each of a list", `{{ range secrets "secret/metadata" }}{{ if eq . "a" }}{{ with secret (printf "kv1/%spp" .) }}{{ .Data.k }}{{ end }}{{ end }}{{ end }}`, "one"},
	{"in a variable", `{{ $s := secret "kv1/app" }}{{ $s.Data.k }}`, "one"},
	{"only if there", `{{ with secret "secret/data/app" }}{{ if .Data.data.user }}yes{{ else }}no{{ end }}{{ end }}`, "yes"},
	{"dashes", `{{ with secret "secret/data/app" }}{{ index .Data.data "my-key" }}{{ end }}`, "dashed"},
	{"JSON of it all", `{{ with secret "secret/data/few" }}{{ .Data.data | toJSON }}{{ end }}`, `{"a":"1","b":"x \"y\""}`},
	{"JSON of it all, indented", `{{ with secret "kv1/app" }}{{ .Data | toJSONPretty }}{{ end }}`, "{\n  \"k\": \"one\"\n}"},
	{"HTML in it", `{{ with secret "secret/data/html" }}{{ .Data.data | toJSON }} {{ .Data.data | toUnescapedJSON }}{{ end }}`, `{"h":"\u003ca\u0026b\u003e"} {"h":"<a&b>"}`},
	{"HTML in it, indented", `{{ with secret "secret/data/html" }}{{ .Data.data | toUnescapedJSONPretty }}{{ end }}`, "{\n  \"h\": \"<a&b>\"\n}"},
	{"TOML", `{{ with secret "kv1/app" }}{{ .Data | toTOML }}{{ end }}`, `k = "one"`},
	{"YAML", `{{ with secret "kv1/app" }}{{ .Data | toYAML }}{{ end }}`, "k: one"},
	{"JSON in a key", `{{ with secret "secret/data/app" }}{{ with .Data.data.json | parseJSON }}{{ .a }}{{ end }}{{ end }}`, "b"},
	{"base64 in a key", `{{ with secret "secret/data/app" }}{{ .Data.data.b64 | base64Decode }}{{ end }}`, "hello"},
	{"several lines", `{{ with secret "secret/data/app" }}{{ .Data.data.multi | indent 2 }}{{ end }}`, "  line1\n  line2\n"},
	{"explodeMap", `{{ with secret "secret/data/tree" }}{{ with .Data.data | explodeMap }}{{ .a.b }}{{ end }}{{ end }}`, "deep"},
	{"mergeMap", `{{ with secret "kv1/app" }}{{ $m := mergeMap .Data (sprig_dict "k" "other" "z" "1") }}{{ $m | toJSON }}{{ end }}`, `{"k":"one","z":"1"}`},
	{"mergeMapWithOverride", `{{ with secret "kv1/app" }}{{ $m := sprig_dict "k" "other" | mergeMapWithOverride .Data }}{{ $m | toJSON }}{{ end }}`, `{"k":"other"}`},
	// Text.
	{"base64", `{{ base64Encode "a?>b" }} {{ base64Decode "YT8+Yg==" }}`, "YT8+Yg== a?>b"},
	{"base64 for URLs", `{{ base64URLEncode "a?>b" }} {{ base64URLDecode "YT8-Yg==" }}`, "YT8-Yg== a?>b"},
	{"case", `{{ "aB c" | toLower }}/{{ "aB c" | toUpper }}/{{ "ab cd" | toTitle }}`, "ab c/AB C/Ab Cd"},
	{"trim", `[{{ "--x--" | trim "-" }}][{{ "--x--" | trimPrefix "-" }}][{{ "--x--" | trimSuffix "--" }}][{{ "\t x \n" | trimSpace }}]`, "[x][-x--][--x][x]"},
	{"split and join", `{{ "a,b,c" | split "," | join ":" }}`, "a:b:c"},
	{"splitToMap", `{{ with "a:1,b:2" | splitToMap "," ":" }}{{ .a }}{{ .b }}{{ end }}`, "12"},
	{"replaceAll", `{{ "a.b.c" | replaceAll "." "_" }}`, "a_b_c"},
	{"regexReplaceAll", `{{ "foo.bar" | regexReplaceAll "foo([.a-z]+)" "$1" }}`, ".bar"},
	{"regexMatch", `{{ if "foo.bar" | regexMatch "^foo" }}yes{{ end }}`, "yes"},
	{"digests", `{{ md5sum "x" }} {{ sha256Hex "x" }}`, "9dd4e461268c8034f5c8564e155c67a6 2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"},
	{"hmacSHA256Hex", `{{ hmacSHA256Hex "what do ya want for nothing?" "Jefe" }}`, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"}, // RFC 4231, 4.3
	// Numbers, lists, time.
	{"numbers", `{{ parseBool "true" }} {{ parseFloat "1.5" }} {{ parseInt "-3" }} {{ parseUint "3" }}`, "true 1.5 -3 3"},
	{"arithmetic", `{{ 5 | add 2 }} {{ 5 | subtract 2 }} {{ 5 | multiply 2 }} {{ 10 | divide 2 }} {{ 10 | modulo 3 }} {{ 5 | minimum 2 }} {{ 5 | maximum 2 }}`, "7 3 10 5 1 2 5"},
	{"loop", `{{ range loop 3 }}{{ . }}{{ end }} {{ range $i := loop 5 8 }}{{ $i }}{{ end }}`, "012 567"},
	{"lists", `{{ $l := parseJSON "[\"a\",\"b\"]" }}{{ in $l "a" }} {{ $l | contains "x" }} {{ $l | containsAll (parseJSON "[\"a\",\"b\"]") }} {{ $l | containsAny (parseJSON "[\"x\",\"b\"]") }} {{ $l | containsNone (parseJSON "[\"x\"]") }} {{ $l | containsNotAll (parseJSON "[\"a\",\"x\"]") }}`, "true false true true true true"},
	{"YAML", `{{ with "a: {b: 1}" | parseYAML }}{{ .a.b }}{{ end }}`, "1"},
	{"timestamp", `{{ timestamp }} {{ timestamp "2006-01-02" }} {{ timestamp "unix" }}`, "2000-01-01T00:00:00Z 2000-01-01 946684800"},
	{"scratch", `{{ scratch.Set "a" "1" }}{{ scratch.SetX "a" "2" }}{{ scratch.MapSet "m" "k" "v" }}{{ scratch.MapSetX "m" "k" "w" }}{{ if scratch.Key "a" }}{{ scratch.Get "a" }}{{ end }}{{ range scratch.MapValues "m" }}{{ . }}{{ end }}`, "1v"},
	{"environment", `{{ env "HOME" }} {{ mustEnv "HOME" }} {{ envOrDefault "NO" "d" }}`, "/here /here d"},
	{"sprig", `{{ "x" | sprig_repeat 3 }} {{ sprig_list 1 2 3 | sprig_join "-" }} {{ sprig_default "d" "" }}`, "xxx 1-2-3 d"},
	{"spew", `{{ "x" | spew_sdump }}{{ spew_sprintf "%v" "y" }}`, "(string) (len=1) \"x\"\ny"},
	{"sockaddr", `{{ sockaddr "GetAllInterfaces | include \"type\" \"IPv4\" | include \"flag\" \"loopback\" | limit 1 | attr \"address\"" }}`, "127.0.0.1"},
	// The language itself.
	{"white space", "a\n{{- with secret \"kv1/app\" }}\n{{ .Data.k -}}\n{{ end }}", "a\none"},
	{"comment", `a{{/* nothing */}}b`, "ab"},
	{"named template", `{{ define "line" }}{{ . }};{{ end }}{{ template "line" "a" }}{{ executeTemplate "line" "b" }}`, "a;b;"},
	{"else with", `{{ with env "NO" }}x{{ else with env "HOME" }}{{ . }}{{ end }}`, "/here"},
	{"break and continue", `{{ range loop 9 }}{{ if eq . 1 }}{{ continue }}{{ end }}{{ if eq . 3 }}{{ break }}{{ end }}{{ . }}{{ end }}`, "02"},
	{"printf", `{{ with secret "secret/data/app" }}{{ printf "%s:%s@%v" .Data.data.user .Data.data.password .Data.data.port }}{{ end }}`, "admin:hunter2@5432"},
}

func TestDocumentedExamples(t *testing.T) {
	for _, example := range examples {
		t.Run(example.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				f := shelf()
				f.kv("secret/data/few", map[string]any{"a": "1", "b": `x "y"`})
				f.kv("secret/data/html", map[string]any{"h": "<a&b>"})
				f.kv("secret/data/tree", map[string]any{"a/b": "deep"})
				f.set(&secret.Secret{Request: secret.Request{Path: "secret/data/v"}, KV: 2, Version: 3, Data: map[string]any{
					"data": map[string]any{}, "metadata": map[string]any{"version": 3},
				}})
				got, err := render(t, f, EnvTemplate{Contents: example.text}, nil)
				if err != nil || got != example.want {
					t.Errorf("got %q, %v, want %q", got, err, example.want)
				}
			})
		})
	}
}

// Every function has its example.
func TestEveryFunctionIsShown(t *testing.T) {
	shown := strings.Fields(elsewhere)
	for _, example := range examples {
		shown = append(shown, regexp.MustCompile(`\w+`).FindAllString(example.text, -1)...)
	}
	for _, name := range strings.Fields(functions) {
		if !slices.Contains(shown, name) {
			t.Errorf("%s is shown by no example", name)
		}
	}
}
