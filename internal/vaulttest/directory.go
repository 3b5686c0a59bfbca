package vaulttest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// executable finds a server's program; part names it where it is required.
func executable(t T, part, name string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		path, err = exec.LookPath(filepath.Join("/usr/sbin", name))
	}
	if err != nil {
		Missing(t, part, "no "+name)
	}
	return path
}

// complete runs a program to its end, env added to ours.
func complete(t T, env []string, path string, args ...string) {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), env...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", filepath.Base(path), err, out)
	}
}

// serve runs a server until t ends, and waits for its port.
func serve(t T, env []string, port int, path string, args ...string) {
	t.Helper()
	cmd := exec.Command(path, args...)
	cmd.Env = append(os.Environ(), env...)
	process, err := start(cmd)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(func() { process.stop(syscall.SIGTERM, stopLimit) })
	for end := time.Now().Add(startLimit); time.Now().Before(end); time.Sleep(pollEvery) {
		if process.gone() {
			t.Fatalf("%s ended: %v", filepath.Base(path), process.err)
		}
		if c, err := net.Dial("tcp", "127.0.0.1:"+strconv.Itoa(port)); err == nil {
			_ = c.Close()
			return
		}
	}
	t.Fatalf("%s does not listen within %s", filepath.Base(path), startLimit)
}

func place(t T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatalf("%v", err)
	}
}

// StartDirectory runs slapd for t, with the user grace, whose password is "pass word",
// below dc=test, and returns its URL. The administrator is cn=admin,dc=test, admin.
func StartDirectory(t T) string {
	t.Helper()
	slapd, slapadd := executable(t, PartLDAP, "slapd"), executable(t, PartLDAP, "slapadd")
	port, err := freePort()
	if err != nil {
		t.Fatalf("%v", err)
	}
	dir := t.TempDir()
	config, data, ldif := filepath.Join(dir, "slapd.conf"), filepath.Join(dir, "data"), filepath.Join(dir, "users.ldif")
	if err := os.Mkdir(data, 0o700); err != nil {
		t.Fatalf("%v", err)
	}
	place(t, config, fmt.Sprintf(`include /etc/ldap/schema/core.schema
include /etc/ldap/schema/cosine.schema
include /etc/ldap/schema/inetorgperson.schema
modulepath /usr/lib/ldap
moduleload back_mdb
pidfile %[1]s/pid
database mdb
suffix "dc=test"
rootdn "cn=admin,dc=test"
rootpw admin
directory %[2]s
`, dir, data))
	place(t, ldif, `dn: dc=test
objectClass: dcObject
objectClass: organization
dc: test
o: test

dn: cn=grace,dc=test
objectClass: inetOrgPerson
cn: grace
sn: hopper
userPassword: pass word
`)
	complete(t, nil, slapadd, "-f", config, "-l", ldif)
	url := fmt.Sprintf("ldap://127.0.0.1:%d", port)
	serve(t, nil, port, slapd, "-f", config, "-h", url, "-d", "0")
	return url
}
