//go:build unix

package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/envexec/envexec/config"
)

// What check says of the files a login reads.
func TestCheckCredentials(t *testing.T) {
	asNobody(t, func(dir string) {
		file := func(name string, mode os.FileMode) string {
			path := filepath.Join(dir, name)
			_ = os.Remove(path)
			place(t, dir, name, "x")
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			return path
		}
		open := filepath.Join(dir, "open")
		if err := os.Mkdir(open, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(open, 0o777); err != nil {
			t.Fatal(err)
		}
		place(t, open, "id", "x")
		locked := filepath.Join(dir, "locked")
		if err := os.Mkdir(locked, 0o700); err != nil {
			t.Fatal(err)
		}
		place(t, locked, "id", "x")
		if err := os.Chmod(locked, 0o500); err != nil {
			t.Fatal(err)
		}
		for _, k := range []struct {
			method   string
			settings map[string]any
			want     []string
		}{
			{"approle", map[string]any{"secret_id_file_path": file("private", 0o600)}, []string{"ok private is there"}},
			{"approle", map[string]any{"SECRET_ID_FILE_PATH": file("private", 0o600)}, []string{"ok private is there"}},
			{"approle", map[string]any{"secret_id_file_path": file("world", 0o644)}, []string{"warning everybody may read"}},
			{"approle", map[string]any{"role_id_file_path": file("world", 0o644)}, []string{"ok world is there"}},
			{"approle", map[string]any{"secret_id_file_path": file("writable", 0o622)}, []string{"warning everybody may write to"}},
			{"approle", map[string]any{"secret_id_file_path": file("closed", 0o000)}, []string{"problem closed cannot be read: permission denied"}},
			{"approle", map[string]any{"secret_id_file_path": filepath.Join(dir, "absent")}, []string{"problem absent cannot be read: no such file"}},
			{"approle", map[string]any{"secret_id_file_path": dir}, []string{"problem cannot be read: it is a directory"}},
			{"approle", map[string]any{"secret_id_file_path": filepath.Join(open, "id")}, []string{"ok id is there", "warning everybody may put another file in the place of id"}},
			{"approle", map[string]any{"secret_id_file_path": filepath.Join(locked, "id")}, []string{"ok id is there", "warning remove_secret_id_file_after_reading is not false, but " + locked + "/id cannot be removed: permission denied"}},
			{"approle", map[string]any{"secret_id_file_path": filepath.Join(locked, "id"), "remove_secret_id_file_after_reading": "false"}, []string{"ok id is there"}},
			{"jwt", map[string]any{"path": filepath.Join(locked, "id")}, []string{"ok id is there", "warning remove_jwt_after_reading is not false"}},
			{"kubernetes", map[string]any{"token_path": filepath.Join(dir, "absent")}, []string{"problem token_path: "}},
			{"token_file", map[string]any{"token_file_path": file("world", 0o644)}, []string{"warning everybody may read"}},
			{"kerberos", map[string]any{"keytab_path": file("closed", 0o000), "krb5conf_path": file("world", 0o644)}, []string{"problem keytab_path: ", "ok krb5conf_path: "}},
			{"aws", map[string]any{"nonce_file": filepath.Join(dir, "absent")}, nil},
		} {
			c := &checkup{}
			c.credentials(config.Login{Method: k.method, Settings: k.settings})
			told(t, c, k.want...)
		}
		c := &checkup{}
		c.credentials(config.Login{Method: "token", TokenFile: file("world", 0o644)})
		told(t, c, "warning token file: everybody may read")
	})
}

// What check says of the places files are put in.
func TestCheckPlaces(t *testing.T) {
	asNobody(t, func(dir string) {
		for name, mode := range map[string]os.FileMode{"locked": 0o500, "open": 0o777, "private": 0o700} {
			if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.Chmod(filepath.Join(dir, name), mode); err != nil {
				t.Fatal(err)
			}
		}
		place(t, dir, "file", "")
		for _, k := range []struct {
			file string
			make bool
			want string
		}{
			{"private/token", false, "ok token can be written"},
			{"absent/token", false, "problem token cannot be made in " + dir + "/absent: no such file"},
			{"absent/deeper/token", true, "ok will get its directory, below " + dir},
			{"locked/token", false, "problem token cannot be made in " + dir + "/locked: permission denied"},
			{"locked/deeper/token", true, "problem token cannot be made in " + dir + "/locked: permission denied"},
			{"file/token", false, "problem token cannot be made in " + dir + "/file: it is no directory"},
			{"file/deeper/token", true, "problem not a directory"},
			{"private", false, "problem private is a directory, it has to be a file"},
			{"open/token", false, "warning everybody may put another file in the place of token"},
		} {
			c := &checkup{}
			c.directory("sink", "sink", filepath.Join(dir, k.file), k.make, true)
			told(t, c, k.want)
		}
		place(t, dir, "log", "")
		c := &checkup{}
		c.appended("log_file", filepath.Join(dir, "log"))
		c.appended("log_file", "")
		c.appended("log_file", filepath.Join(dir, "locked/log"))
		c.appended("log_file", filepath.Join(dir, "private")) // a directory stands for vault.log in it
		if err := os.Chmod(filepath.Join(dir, "log"), 0o400); err != nil {
			t.Fatal(err)
		}
		c.appended("log_file", filepath.Join(dir, "log"))
		told(t, c, "ok log can be written", "problem log cannot be made in", "ok private/vault.log can be written", "problem log cannot be written: permission denied")

		c = &checkup{}
		c.persist(config.Persist{Type: "file", Path: filepath.Join(dir, "absent", "cache"), KeyFile: filepath.Join(dir, "nokey")})
		told(t, c, "ok will get its directory", "problem cache.persist key_file: ")
	})
}
