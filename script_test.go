package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"github.com/rogpeppe/go-internal/testscript"
	"go.uber.org/goleak"

	"github.com/envexec/envexec/internal/vaulttest"
	"github.com/envexec/envexec/signals"
)

func TestMain(m *testing.M) {
	testscript.Main(leakChecked{m}, map[string]func(){"envexec": main, "app": app})
}

type leakChecked struct{ *testing.M }

func (m leakChecked) Run() int {
	status := m.M.Run()
	if err := goleak.Find(); status == 0 && err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return status
}

// app is the program envexec runs in the scripts.
//
//	app print NAME…         print the variables and exit
//	app exit N
//	app fetch PATH          read PATH with VAULT_ADDR and VAULT_TOKEN as any Vault client does
//	app await PATH WORD D   read it until a hit has the word; a read begun after D without it fails
//	app flaky SOCKET N      a server that fails the first N requests for each path
//	app http-proxy FILE LOG an HTTP proxy, its URL in FILE
//	app srv-server ADDRESS PORT FILE   a name server that leads to localhost:PORT; FILE appears when it is up
//	app listening           the sockets its parent listens on (Linux)
//	app follow FILE NAME…   append the variables to FILE, then every signal, until TERM or INT
func app() {
	switch args := os.Args[1:]; args[0] {
	case "print":
		fmt.Print(variables(args[1:]))
	case "exit":
		n, _ := strconv.Atoi(args[1])
		os.Exit(n)
	case "fetch":
		fetch(args[1])
	case "await":
		await(args[1], args[2], args[3])
	case "flaky":
		flaky(args[1], args[2])
	case "get":
		get(args[1])
	case "listening":
		listening(os.Getppid())
	case "follow":
		follow(args[1], args[2:])
	case "http-proxy":
		httpProxy(args[1], args[2])
	case "srv-server":
		srvServer(args[1], args[2], args[3])
	}
}

func listening(process int) {
	sockets, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", process))
	if err != nil || len(sockets) == 0 {
		panic(fmt.Sprint("cannot look at process ", process, err))
	}
	theirs := map[string]bool{}
	for _, fd := range sockets {
		to, _ := os.Readlink(fd)
		theirs[strings.Trim(strings.TrimPrefix(to, "socket:"), "[]")] = true
	}
	none := true
	for _, table := range []struct {
		name, listens string
		state, inode  int // columns
	}{{"tcp", "0A", 3, 9}, {"tcp6", "0A", 3, 9}, {"unix", "00010000", 3, 6}} {
		text, _ := os.ReadFile("/proc/net/" + table.name)
		for line := range strings.Lines(string(text)) {
			if f := strings.Fields(line); len(f) > table.inode && f[table.state] == table.listens && theirs[f[table.inode]] {
				none = false
				fmt.Println("listens on", table.name)
			}
		}
	}
	if none {
		fmt.Println("listens on nothing")
	}
}

// get prints what the listener answers to a request that is not for Vault.
func get(path string) {
	answer, err := http.Get(os.Getenv("VAULT_ADDR") + path)
	if err != nil {
		panic(err)
	}
	defer answer.Body.Close()
	_, _ = io.Copy(os.Stdout, answer.Body)
}

func fetch(path string) {
	client, err := api.NewClient(nil)
	if err != nil {
		panic(err)
	}
	client.SetMaxRetries(0)
	answer, err := client.Logical().Read(path)
	if err != nil {
		fmt.Println("refused:", err)
		os.Exit(1)
	}
	fmt.Println(answer.Data)
}

func flaky(socket, fails string) {
	n, err := strconv.Atoi(fails)
	if err != nil {
		panic(err)
	}
	listener, err := net.Listen("unix", socket)
	if err != nil {
		panic(err)
	}
	end := make(chan os.Signal, 1)
	signal.Notify(end) // also where the tests' own parent ignores INT
	go func() {
		for sig := range end {
			if sig == os.Interrupt || sig.String() == "terminated" {
				_ = listener.Close()
			}
		}
	}()
	var mu sync.Mutex
	asked := map[string]int{}
	_ = http.Serve(listener, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		mu.Lock()
		defer mu.Unlock()
		if asked[r.URL.Path]++; asked[r.URL.Path] <= n {
			w.WriteHeader(http.StatusInternalServerError)
			return
		}
		fmt.Fprintf(w, `{"data":{"asked":"%d times"}}`, asked[r.URL.Path])
	}))
}

func await(path, word, within string) {
	client, err := api.NewClient(nil)
	if err != nil {
		panic(err)
	}
	bound, err := time.ParseDuration(within)
	if err != nil {
		panic(err)
	}
	for began := time.Now(); time.Since(began) < patience; <-time.After(20 * time.Millisecond) {
		late := time.Since(began) > bound
		answer, err := client.Logical().ReadRaw(path)
		if err != nil {
			continue // nobody listens yet
		}
		text, _ := io.ReadAll(answer.Body)
		answer.Body.Close()
		switch hit := answer.Header.Get("X-Cache") == "HIT"; {
		case hit && strings.Contains(string(text), word):
			fmt.Println("a hit")
			return
		case late && !strings.Contains(string(text), word):
			fmt.Printf("asked for more than %s after the change: %s\n", within, text)
			os.Exit(1)
		}
	}
	fmt.Println("never")
	os.Exit(1)
}

func variables(names []string) string {
	var b strings.Builder
	for _, name := range names {
		if value, ok := os.LookupEnv(name); ok {
			fmt.Fprintf(&b, "%s=%s\n", name, value)
		} else {
			fmt.Fprintf(&b, "%s is unset\n", name)
		}
	}
	return b.String()
}

func follow(file string, names []string) {
	got := make(chan os.Signal, 16)
	signal.Notify(got)
	f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		panic(err)
	}
	fmt.Fprint(f, "started ", strings.ReplaceAll(variables(names), "\n", " "), "\n")
	for sig := range got {
		switch sig.String() {
		case "urgent I/O condition": // the Go runtime's own
		case "terminated", "interrupt": // the latter when a script has failed
			fmt.Fprintln(f, "stopped")
			os.Exit(0)
		default:
			fmt.Fprintln(f, "signal", sig)
		}
	}
}

// patience bounds every wait of a script; success does not wait.
const patience = 60 * time.Second

// TestScripts runs the command line without a Vault.
func TestScripts(t *testing.T) { runScripts(t, "cli", nil) }

// TestVaultScripts runs it against real ones, one for each script.
func TestVaultScripts(t *testing.T) {
	if _, err := vaulttest.Binary(); err != nil {
		vaulttest.Missing(t, vaulttest.PartVault, err.Error())
	}
	runScripts(t, "vault", nil)
}

func runScripts(t *testing.T, dir string, more map[string]func(*testscript.TestScript, bool, []string)) {
	commands := map[string]func(*testscript.TestScript, bool, []string){
		"status":   cmdStatus,
		"wait-for": cmdWaitFor,
		"count":    cmdCount,
		"send":     cmdSend,
		"vault":    cmdVault,

		"time-of-day": cmdTimeOfDay,
		"issue":       cmdIssue,
		"torment":     cmdTorment,
	}
	maps.Copy(commands, more)
	testscript.Run(t, testscript.Params{
		Dir:  filepath.Join("testdata", "script", dir),
		Cmds: commands,
		Setup: func(env *testscript.Env) error {
			env.Setenv("ENVEXEC_LOG_LEVEL", "debug")
			if binary, err := vaulttest.Binary(); err == nil {
				env.Setenv("VAULT_BINARY", binary) // for Vault's own Proxy
			}
			env.Setenv("GORACE", "atexit_sleep_ms=0") // else each run takes a second longer under -race
			env.Values[vaultKey{}] = &scriptVault{roles: map[string]vaulttest.Role{}}
			env.Defer(func() { tellErrors(env) })
			return nil
		},
		Condition: func(name string) (bool, error) {
			part, ok := strings.CutPrefix(name, "required:")
			if !ok {
				return false, fmt.Errorf("unknown condition %q", name)
			}
			return vaulttest.Required(part), nil
		},
		RequireExplicitExec: true,
		Deadline:            time.Now().Add(6 * patience),
	})
}

// tellErrors shows, when a script failed, what envexec wrote to files named err.
func tellErrors(env *testscript.Env) {
	if t, ok := env.T().(interface{ Failed() bool }); !ok || !t.Failed() {
		return
	}
	files, _ := filepath.Glob(filepath.Join(env.WorkDir, "err*"))
	for _, file := range files {
		text, _ := os.ReadFile(file)
		env.T().Log(filepath.Base(file), "is\n", string(text))
	}
}

// cmdStatus runs a command and compares its exit status, which `exec` cannot.
//
//	status N command args…
func cmdStatus(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N command args…")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := 0
	if exit, ok := err.(*exec.ExitError); ok { //nolint:errorlint // as testscript returns it
		got = exit.ExitCode()
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if strconv.Itoa(got) != args[0] {
		ts.Fatalf("exit status %d, want %s", got, args[0])
	}
}

// cmdWaitFor waits until a file matches.
//
//	wait-for FILE REGEXP
func cmdWaitFor(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: wait-for FILE REGEXP")
	}
	want := regexp.MustCompile("(?m)" + args[1])
	var text []byte
	for end := time.Now().Add(patience); time.Now().Before(end); <-time.After(10 * time.Millisecond) {
		text, _ = os.ReadFile(ts.MkAbs(args[0]))
		if want.Match(text) {
			return
		}
	}
	ts.Fatalf("%s never matched %q; it has:\n%s", args[0], args[1], text)
}

// cmdCount counts the lines of a file that begin with a word.
//
//	count FILE WORD N
func cmdCount(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: count FILE WORD N")
	}
	n := 0
	for line := range strings.Lines(ts.ReadFile(args[0])) {
		if strings.HasPrefix(line, args[1]+" ") || line == args[1]+"\n" {
			n++
		}
	}
	number(ts, args[2], n, fmt.Sprintf("lines %q in %s", args[1], args[0]))
}

// cmdSend sends a signal to the background command started last; testscript's own
// kill knows only INT and KILL.
//
//	send SIGNAL
func cmdSend(ts *testscript.TestScript, neg bool, args []string) {
	running := ts.BackgroundCmds()
	if neg || len(args) != 1 || len(running) == 0 {
		ts.Fatalf("usage: send SIGNAL, with a command in the background")
	}
	sig, err := signals.Parse(args[0])
	ts.Check(err)
	ts.Check(running[len(running)-1].Process.Signal(sig))
}

// cmdTimeOfDay sets a variable to the local time so far from now.
//
//	time-of-day VAR DURATION
func cmdTimeOfDay(ts *testscript.TestScript, _ bool, args []string) {
	d, err := time.ParseDuration(args[1])
	ts.Check(err)
	ts.Setenv(args[0], time.Now().Add(d).Format("15:04"))
}

// cmdIssue checks that three files have a certificate, its key and its authority.
//
//	issue CERT KEY CHAIN
func cmdIssue(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 3 {
		ts.Fatalf("usage: issue CERT KEY CHAIN")
	}
	cert, chain := []byte(ts.ReadFile(args[0])), []byte(ts.ReadFile(args[2]))
	pair, err := tls.X509KeyPair(cert, []byte(ts.ReadFile(args[1])))
	if err != nil {
		ts.Fatalf("certificate and key are of two issues: %v", err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(chain)
	if _, err := pair.Leaf.Verify(x509.VerifyOptions{Roots: roots}); err != nil {
		ts.Fatalf("the chain is of another issue: %v", err)
	}
}

// cmdTorment kills a command at moments it does not expect, and checks after each that
// a run with --once leaves the files of one issue.
//
//	torment CERT KEY CHAIN COMMAND args…
func cmdTorment(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 4 {
		ts.Fatalf("usage: torment CERT KEY CHAIN COMMAND args…")
	}
	for round := range 6 {
		life := fmt.Sprint(1 + 0.13*float64(round))
		_ = ts.Exec("timeout", append([]string{"--signal=KILL", life}, args[3:]...)...) // it is killed
		ts.Check(ts.Exec(args[3], append(args[4:], "--once")...))
		cmdIssue(ts, false, args[:3])
	}
}

// scriptVault is a script's Vault; scripts run one command at a time.
type scriptVault struct {
	*vaulttest.Server
	mark     int64
	roles    map[string]vaulttest.Role
	postgres *vaulttest.Postgres //nolint:unused // by the integration scripts
}

type vaultKey struct{}

// cmdVault drives a real Vault. The first must be start.
//
//	vault start [durable|events|tls|mutual]    VAULT_ADDR is set, KV 2 at secret/, KV 1 at kv1/
//	vault put PATH k=v…             KV 2 below secret/, KV 1 below kv1/, else a plain write
//	vault long PATH KEY N           a value of N bytes
//	vault many PATH N               keys k0, k1, … with values v0, v1, …
//	vault nul PATH KEY              a value with a NUL byte
//	vault delete PATH
//	vault approle NAME FILE [k=v…]  a role with the policy in FILE: role-id and secret-id files, ROLE_ID and SECRET_ID variables
//	vault wrap NAME FILE            a response-wrapped secret id of that role in FILE
//	vault mount PATH TYPE
//	vault wrapread - PATH           the secret response-wrapped: a reference that unwraps it, PASSWORD in wrapped.env
//	vault encrypt VAR PATH TEXT     the ciphertext in variable VAR
//	vault mark                      requests are counted from here
//	vault requests N [REGEXP]       exactly N requests since then whose "operation path" matches
//	vault alive N                   exactly N tokens are alive beside root's, waiting for it
//	vault leases PREFIX N
//	vault revoke-leases PREFIX
//	vault revoke-all                all tokens but root's
//	vault token VAR FILE [k=v…]     a token with the policy in FILE, in variable VAR and the file VAR.token
//	vault stop | resume | seal | unseal
//	vault hang | wake               the process is stopped, its connections stay open
func cmdVault(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) == 0 {
		ts.Fatalf("usage: vault VERB args…")
	}
	t := scriptT{ts}
	v := ts.Value(vaultKey{}).(*scriptVault)
	if args[0] == "start" {
		var opts []vaulttest.Option
		switch {
		case len(args) > 1 && args[1] == "durable":
			opts = append(opts, vaulttest.Durable())
		case len(args) > 1 && args[1] == "events":
			opts = append(opts, vaulttest.WithEvents(t))
		case len(args) > 1 && args[1] == "tls":
			opts = append(opts, vaulttest.TLS())
		case len(args) > 1 && args[1] == "mutual":
			opts = append(opts, vaulttest.MutualTLS())
		}
		v.Server = vaulttest.Start(t, opts...)
		ts.Setenv("VAULT_ADDR", v.Addr)
		ts.Setenv("SERVER_ADDR", v.Addr)
		ts.Setenv("ROOT_TOKEN", v.RootToken)
		ts.Setenv("SERVER_CACERT", v.CACert)
		ts.Setenv("MUTUAL_ADDR", v.Mutual.Addr)
		ts.Setenv("PAIR_CERT", v.Mutual.Cert)
		ts.Setenv("PAIR_KEY", v.Mutual.Key)
		ts.Setenv("SERVER_PORT", v.Addr[strings.LastIndex(v.Addr, ":")+1:])
		return
	}
	if v.Server == nil {
		ts.Fatalf("vault start comes first")
	}
	v.do(ts, t, args[0], args[1:])
}

func (v *scriptVault) do(ts *testscript.TestScript, t scriptT, verb string, args []string) {
	switch verb {
	case "put":
		v.put(t, args[0], pairs(ts, args[1:]))
	case "long":
		n, _ := strconv.Atoi(args[2])
		v.put(t, args[0], map[string]any{args[1]: strings.Repeat("x", n)})
	case "many":
		n, _ := strconv.Atoi(args[1])
		data := map[string]any{}
		for i := range n {
			data[fmt.Sprintf("k%d", i)] = fmt.Sprintf("v%d", i)
		}
		v.put(t, args[0], data)
	case "delete":
		v.Delete(t, args[0])
	case "nul":
		v.put(t, args[0], map[string]any{args[1]: "a\x00b"})
	case "approle":
		v.Policy(t, args[0], ts.ReadFile(args[1]))
		role := v.AppRole(t, pairs(ts, args[2:]), args[0])
		v.roles[args[0]] = role
		ts.Setenv("ROLE_ID", role.ID)
		ts.Setenv("SECRET_ID", role.SecretID)
		write(ts, "role-id", role.ID)
		write(ts, "secret-id", role.SecretID)
	case "wrap":
		write(ts, args[1], v.WrappedSecretID(t, v.roles[args[0]], time.Hour))
		ts.Setenv("CREATION_PATH", "auth/approle/role/"+v.roles[args[0]].Name+"/secret-id")
	case "token":
		v.Policy(t, args[0], ts.ReadFile(args[1]))
		ts.Setenv(args[0], v.Token(t, pairs(ts, args[2:]), args[0]))
		write(ts, args[0]+".token", ts.Getenv(args[0]))
	case "wrapread":
		client := v.Client(t)
		client.SetWrappingLookupFunc(func(string, string) string { return "5m" })
		s, err := client.Logical().Read(args[1])
		ts.Check(err)
		write(ts, "wrapped.env", fmt.Sprintf("PASSWORD='>>vault:sys/wrapping/unwrap#password#{\"token\":%q}'\n", s.WrapInfo.Token))
	case "encrypt":
		body := map[string]any{"plaintext": base64.StdEncoding.EncodeToString([]byte(args[2]))}
		ts.Setenv(args[0], v.Write(t, args[1], body).Data["ciphertext"].(string))
	case "mount":
		v.Mount(t, args[0], args[1], nil)
	case "mark":
		v.mark = v.Mark(t)
	case "requests":
		v.requests(ts, t, args)
	case "alive":
		v.alive(ts, t, args[0])
	case "revoke-leases":
		v.Write(t, "sys/leases/revoke-prefix/"+args[0], nil)
	case "revoke-all":
		own := v.Read(t, "auth/token/lookup-self").Data["accessor"]
		for _, accessor := range v.Accessors(t) {
			if accessor != own {
				v.Write(t, "auth/token/revoke-accessor", map[string]any{"accessor": accessor})
			}
		}
	case "leases":
		v.leases(ts, t, args[0], args[1])
	case "stop":
		v.Stop(t)
	case "resume":
		v.Resume(t)
	case "hang", "wake":
		signal := map[string]string{"hang": "-STOP", "wake": "-CONT"}[verb]
		ts.Check(exec.Command("kill", signal, strconv.Itoa(v.Pid())).Run())
	case "seal":
		v.Seal(t)
	case "unseal":
		v.Unseal(t)
	default:
		ts.Fatalf("vault: unknown verb %q", verb)
	}
}

// alive waits for the number: a login that is given up may end a little later.
func (v *scriptVault) alive(ts *testscript.TestScript, t scriptT, want string) {
	got := -1
	for end := time.Now().Add(patience); time.Now().Before(end); <-time.After(20 * time.Millisecond) {
		if got = len(v.Accessors(t)) - 1; strconv.Itoa(got) == want {
			return
		}
	}
	number(ts, want, got, "tokens alive beside root's")
}

// leases waits for the number: Vault revokes a token's leases after it has answered.
func (v *scriptVault) leases(ts *testscript.TestScript, t scriptT, prefix, want string) {
	got := -1
	for end := time.Now().Add(patience); time.Now().Before(end); <-time.After(20 * time.Millisecond) {
		if got = len(v.Leases(t, prefix)); strconv.Itoa(got) == want {
			return
		}
	}
	number(ts, want, got, "leases below "+prefix)
}

func (v *scriptVault) put(t scriptT, path string, data map[string]any) {
	switch {
	case strings.HasPrefix(path, "secret/"):
		v.PutKV2(t, path, data)
	case strings.HasPrefix(path, "kv1/"):
		v.PutKV1(t, path, data)
	default:
		v.Write(t, path, data)
	}
}

func (v *scriptVault) requests(ts *testscript.TestScript, t scriptT, args []string) {
	want := regexp.MustCompile("")
	if len(args) > 1 {
		want = regexp.MustCompile(args[1])
	}
	var got []string
	for _, r := range v.AuditLog(t, v.mark) {
		if line := r.Operation + " " + r.Path; want.MatchString(line) {
			got = append(got, line)
		}
	}
	number(ts, args[0], len(got), fmt.Sprintf("requests %q", got))
}

func number(ts *testscript.TestScript, want string, got int, what string) {
	if strconv.Itoa(got) != want {
		ts.Fatalf("%d %s, want %s", got, what, want)
	}
}

func pairs(ts *testscript.TestScript, args []string) map[string]any {
	m := map[string]any{}
	for _, arg := range args {
		k, v, ok := strings.Cut(arg, "=")
		if !ok {
			ts.Fatalf("%q is not k=v", arg)
		}
		if file, ok := strings.CutPrefix(v, "@"); ok {
			v = ts.ReadFile(file)
		}
		m[k] = v
		if text, ok := strings.CutPrefix(v, "json:"); ok {
			var value any
			ts.Check(json.Unmarshal([]byte(text), &value))
			m[k] = value
		}
	}
	return m
}

func write(ts *testscript.TestScript, name, text string) {
	ts.Check(os.WriteFile(ts.MkAbs(name), []byte(text), 0o600))
}

// scriptT makes a script a vaulttest.T.
type scriptT struct{ ts *testscript.TestScript }

func (t scriptT) Helper()                   {}
func (t scriptT) Cleanup(f func())          { t.ts.Defer(f) }
func (t scriptT) Fatalf(f string, a ...any) { t.ts.Fatalf(f, a...) }
func (t scriptT) Skipf(f string, a ...any)  { t.ts.Fatalf(f, a...) } // TestVaultScripts has asked before

func (t scriptT) TempDir() string {
	dir := t.ts.MkAbs(".vault")
	t.ts.Check(os.MkdirAll(dir, 0o700))
	return dir
}

func (t scriptT) Logf(f string, a ...any) { t.ts.Logf(f, a...) }
