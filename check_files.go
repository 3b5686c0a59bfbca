package main

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/envexec/envexec/config"
)

// credentialFiles are the settings of login methods that name files others may not read.
// Kubernetes lets everybody in a container read its tokens, so token_path is not among them.
var credentialFiles = []string{
	"secret_id_file_path", "token_file_path", "password_file_path", "path", "keytab_path", "client_key", "nonce_file",
}

// removing are the methods that remove their credential once it is read, unless told not to.
var removing = map[string]struct{ key, file string }{
	"approle":  {"remove_secret_id_file_after_reading", "secret_id_file_path"},
	"jwt":      {"remove_jwt_after_reading", "path"},
	"ldap":     {"remove_password_after_reading", "password_file_path"},
	"userpass": {"remove_password_after_reading", "password_file_path"},
}

// credentials checks the files the login reads.
func (c *checkup) credentials(l config.Login) {
	if l.Method == "token" && l.TokenFile != "" {
		c.credential("token file", l.TokenFile, true)
	}
	for _, key := range fileSettings {
		file, _ := setting(l, key).(string)
		if file == "" || key == "ca_cert" || key == "client_cert" || key == "nonce_file" && absent(file) { // made by the first login
			continue
		}
		if secret := slices.Contains(credentialFiles, key); c.credential(key, file, secret) && removing[l.Method].file == key {
			c.removal(l, file)
		}
	}
}

// setting reads one of the login's own settings; keys are not case sensitive.
func setting(l config.Login, key string) any {
	for k, v := range l.Settings {
		if strings.EqualFold(k, key) {
			return v
		}
	}
	return nil
}

func absent(file string) bool {
	_, err := os.Stat(file)
	return errors.Is(err, fs.ErrNotExist)
}

// credential checks that a file can be read, and if it is a secret that it is one; false: it cannot.
func (c *checkup) credential(what, file string, secret bool) bool {
	info, err := os.Stat(file)
	if err == nil && info.Mode()&fs.ModeNamedPipe != 0 && !strings.HasPrefix(file, "/dev/") && !strings.HasPrefix(file, "/proc/") {
		c.add(doubt, "credential", "%s: %s is a pipe and not read: that would use up what comes out of it", what, file)
		c.used = true
		return false
	}
	if err == nil && info.IsDir() {
		err = errors.New("it is a directory")
	}
	if err == nil {
		var f *os.File
		if f, err = os.Open(file); err == nil {
			err = f.Close()
		}
	}
	if err != nil {
		c.fail("credential", statusConfig, fmt.Errorf("%s: %s cannot be read: %w", what, file, bare(err)))
		return false
	}
	c.private("credential", what, file, info, secret)
	return true
}

// private says who else may read a secret, or put another in its place.
func (c *checkup) private(area, what, file string, info fs.FileInfo, secret bool) {
	switch mode := info.Mode(); {
	case !mode.IsRegular():
		c.add(fine, area, "%s: %s can be read", what, file)
	case mode.Perm()&0o002 != 0:
		c.add(doubt, area, "%s: everybody may write to %s (mode %04o)", what, file, mode.Perm())
	case mode.Perm()&0o004 != 0 && secret:
		c.add(doubt, area, "%s: everybody may read %s (mode %04o)", what, file, mode.Perm())
	default:
		c.add(fine, area, "%s: %s is there", what, file)
	}
	if dir := filepath.Dir(file); open(dir) {
		c.add(doubt, area, "%s: everybody may put another file in the place of %s: %s is open to all", what, filepath.Base(file), dir)
	}
}

// open reports whether everybody may replace what is in a directory.
func open(dir string) bool {
	info, err := os.Stat(dir)
	return err == nil && info.Mode().Perm()&0o002 != 0 && info.Mode()&fs.ModeSticky == 0
}

// removal checks that a credential can be removed after it was read, where that is wanted.
func (c *checkup) removal(l config.Login, file string) {
	key := removing[l.Method].key
	if v := setting(l, key); v != nil && fmt.Sprint(v) != "true" && fmt.Sprint(v) != "1" {
		return
	}
	if err := mayWrite(filepath.Dir(file)); err != nil {
		c.add(doubt, "credential", "%s is not false, but %s cannot be removed: %v", key, file, bare(err))
	}
}

// directory checks that a file can be put in place in its directory, or with make in one
// that is made first; secret: others may not replace it.
func (c *checkup) directory(area, what, file string, make, secret bool) {
	dir := filepath.Dir(file)
	if info, err := os.Stat(file); err == nil && info.IsDir() {
		c.fail(area, statusConfig, fmt.Errorf("%s: %s is a directory, it has to be a file", what, file))
		return
	}
	if info, err := os.Lstat(file); err == nil && area == "sink" && !info.Mode().IsRegular() && info.Mode()&fs.ModeSymlink == 0 {
		c.fail(area, statusConfig, fmt.Errorf("%s: %s is no regular file, and a sink would replace it", what, file))
		return
	}
	first := dir // that is there
	for make && absent(first) && first != filepath.Dir(first) {
		first = filepath.Dir(first)
	}
	info, err := os.Stat(first)
	if err == nil && !info.IsDir() {
		err = errors.New("it is no directory")
	}
	if err == nil {
		err = mayWrite(first)
	}
	switch {
	case err != nil:
		c.fail(area, statusConfig, fmt.Errorf("%s: %s cannot be made in %s: %w", what, filepath.Base(file), first, bare(err)))
	case secret && first == dir && open(dir):
		c.add(doubt, area, "%s: everybody may put another file in the place of %s: %s is open to all", what, filepath.Base(file), dir)
	case first != dir:
		c.add(fine, area, "%s: %s will get its directory, below %s", what, file, first)
	default:
		c.add(fine, area, "%s: %s can be written", what, file)
	}
}

// bare is err without the path, where it has one.
func bare(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}

// appended checks a file that is opened where it is.
func (c *checkup) appended(what, file string) {
	if info, err := os.Stat(file); what == "log_file" && err == nil && info.IsDir() {
		file = filepath.Join(file, "vault.log") // as telemetry.LogFile has it
	}
	switch info, err := os.Stat(file); {
	case file == "":
	case err != nil || info.IsDir():
		c.directory("file", what, file, false, false)
	default:
		if err := mayWrite(file); err != nil {
			c.fail("file", statusConfig, fmt.Errorf("%s: %s cannot be written: %w", what, file, bare(err)))
			return
		}
		c.add(fine, "file", "%s: %s can be written", what, file)
	}
}
