package vaulttest

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/hashicorp/vault/api"
)

const (
	postgresUser   = "postgres"
	postgresPlugin = "postgresql-database-plugin"
)

// Postgres is a private PostgreSQL server on loopback.
type Postgres struct {
	Host     string // 127.0.0.1
	Port     int
	User     string // a superuser
	Password string
	bin      string
}

// StartPostgres runs a PostgreSQL server for t and ends it with t. Its binaries
// come from PATH or from where Debian puts them; it runs as an unprivileged
// user when the test is root, as PostgreSQL wants.
func StartPostgres(t T) *Postgres {
	t.Helper()
	bin, err := postgresBin()
	if err != nil {
		Missing(t, PartPostgres, err.Error())
	}
	p := &Postgres{Host: "127.0.0.1", User: postgresUser, Password: "envexec-test", bin: bin}
	if err := p.run(t); err != nil {
		t.Fatalf("start postgres: %v", err)
	}
	return p
}

func postgresBin() (string, error) {
	places, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil {
		return "", fmt.Errorf("look for postgres: %w", err)
	}
	slices.Sort(places)
	slices.Reverse(places)
	if path, err := exec.LookPath("initdb"); err == nil {
		if real, err := filepath.EvalSymlinks(path); err == nil {
			places = append(places, filepath.Dir(real))
		}
	}
	for _, dir := range places {
		if exists(filepath.Join(dir, "initdb")) && exists(filepath.Join(dir, "postgres")) {
			return dir, nil
		}
	}
	return "", fmt.Errorf("no initdb and postgres, neither on PATH nor below /usr/lib/postgresql")
}

func (p *Postgres) run(t T) error {
	// Not t.TempDir: its parent is closed to the unprivileged user.
	dir, err := os.MkdirTemp("", "envexec-pg")
	if err != nil {
		return fmt.Errorf("make directory: %w", err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	as, err := unprivileged(dir)
	if err != nil {
		return err
	}
	password := filepath.Join(dir, "password")
	if err := os.WriteFile(password, []byte(p.Password), 0o644); err != nil {
		return fmt.Errorf("write password file: %w", err)
	}
	data := filepath.Join(dir, "data")
	initdb := exec.Command(filepath.Join(p.bin, "initdb"), "-D", data, "-U", p.User, "--pwfile="+password,
		"--auth=scram-sha-256", "--no-sync", "--encoding=UTF8", "--locale=C")
	initdb.Dir = dir
	as(initdb)
	if out, err := initdb.CombinedOutput(); err != nil {
		return fmt.Errorf("initdb: %w\n%s", err, out)
	}
	if p.Port, err = freePort(); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "postgres.log"))
	if err != nil {
		return fmt.Errorf("open log: %w", err)
	}
	defer log.Close()
	server := exec.Command(filepath.Join(p.bin, "postgres"), "-D", data, "-h", p.Host, "-p", strconv.Itoa(p.Port),
		"-k", dir, "-c", "fsync=off", "-c", "full_page_writes=off")
	server.Dir, server.Stdout, server.Stderr = dir, log, log
	as(server)
	process, err := start(server)
	if err != nil {
		return err
	}
	t.Cleanup(func() { process.stop(syscall.SIGINT, stopLimit) }) // INT: PostgreSQL's fast shutdown
	return p.await(process, log.Name())
}

func (p *Postgres) await(process *command, log string) error {
	for end := time.Now().Add(startLimit); time.Now().Before(end); time.Sleep(pollEvery) {
		if process.gone() {
			text, _ := os.ReadFile(log)
			return fmt.Errorf("postgres ended: %w\n%s", process.err, text)
		}
		if exec.Command(filepath.Join(p.bin, "pg_isready"), "-q", "-h", p.Host, "-p", strconv.Itoa(p.Port)).Run() == nil {
			return nil
		}
	}
	return fmt.Errorf("postgres not ready within %s", startLimit)
}

// Query runs one statement as the given user and returns psql's bare output.
func (p *Postgres) Query(user, password, statement string) (string, error) {
	cmd := exec.Command(filepath.Join(p.bin, "psql"), "-X", "-A", "-t", "-h", p.Host, "-p", strconv.Itoa(p.Port),
		"-U", user, "-d", "postgres", "-v", "ON_ERROR_STOP=1", "-c", statement)
	cmd.Env = append(os.Environ(), "PGPASSWORD="+password)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("psql: %w: %s", err, out)
	}
	return string(out), nil
}

// URL is how Vault connects, with Vault's own placeholders for the credentials.
func (p *Postgres) URL() string {
	return fmt.Sprintf("postgresql://{{username}}:{{password}}@%s:%d/postgres?sslmode=disable", p.Host, p.Port)
}

// WithPostgresPlugin lets the server find the PostgreSQL plugin that
// make vault-postgres builds, which a minimal Vault does not contain.
func WithPostgresPlugin(t T) Option {
	t.Helper()
	return withPlugin(t, postgresPlugin, PartPostgresPlugin)
}

// Database connects Vault's database engine, at database/, to p and makes a role
// whose logins may read. params are those of database/roles/NAME ("default_ttl",
// "max_ttl", …) and may be nil. The server must run WithPostgresPlugin.
func (s *Server) Database(t T, p *Postgres, role string, params map[string]any) {
	t.Helper()
	s.registerPlugin(t, &api.RegisterPluginInput{Name: postgresPlugin, Type: api.PluginTypeDatabase, Command: postgresPlugin})
	s.Mount(t, "database", "database", nil)
	s.Write(t, "database/config/postgres", map[string]any{
		"plugin_name": postgresPlugin, "allowed_roles": "*", "connection_url": p.URL(),
		"username": p.User, "password": p.Password,
	})
	body := map[string]any{
		"db_name": "postgres",
		"creation_statements": `CREATE ROLE "{{name}}" WITH LOGIN PASSWORD '{{password}}' VALID UNTIL '{{expiration}}';` +
			` GRANT SELECT ON ALL TABLES IN SCHEMA public TO "{{name}}";`,
	}
	maps.Copy(body, params)
	s.Write(t, "database/roles/"+role, body)
}
