package main

import (
	"fmt"
	"path/filepath"
	"strings"

	"github.com/envexec/envexec/config"
)

// fileSettings are the settings of login methods that name files.
var fileSettings = []string{
	"role_id_file_path", "secret_id_file_path", "token_file_path", "password_file_path", "username_file_path", "token_path", "path",
	"keytab_path", "krb5conf_path", "ca_cert", "client_cert", "client_key", "nonce_file",
}

// absolute makes every relative path of files absolute: once the program runs,
// envexec stands in the root directory, so that it keeps no mount busy.
func absolute(c *config.Config) error {
	paths := []*string{
		&c.PIDFile, &c.Log.File, &c.Program.Stdout, &c.Program.Stderr, &c.Login.TokenFile,
		&c.Vault.CACert, &c.Vault.CAPath, &c.Vault.ClientCert, &c.Vault.ClientKey,
		&c.Cache.Persist.Path, &c.Cache.Persist.TokenFile, &c.Cache.Persist.KeyFile, &c.Cache.Persist.OldKeyFile,
	}
	if c.AdminPath() != "" {
		paths = append(paths, &c.Admin)
	}
	for i := range c.Sinks {
		paths = append(paths, &c.Sinks[i].Path, &c.Sinks[i].DHPath)
	}
	for i := range c.Secrets.RenderFiles {
		paths = append(paths, &c.Secrets.RenderFiles[i].Destination, &c.Secrets.RenderFiles[i].Source)
	}
	for i := range c.Secrets.Templates {
		t := &c.Secrets.Templates[i]
		paths = append(paths, &t.Source, &t.Destination, &t.SandboxPath)
	}
	for i := range c.Secrets.EnvTemplates {
		paths = append(paths, &c.Secrets.EnvTemplates[i].Source)
	}
	for i := range c.Listeners {
		l := &c.Listeners[i]
		paths = append(paths, &l.TLSCertFile, &l.TLSKeyFile, &l.TLSClientCAFile)
		if l.Type == "unix" {
			paths = append(paths, &l.Address)
		}
	}
	for i := range c.Sockets {
		if strings.HasPrefix(c.Sockets[i].Network, "unix") {
			paths = append(paths, &c.Sockets[i].Address)
		}
	}
	for _, p := range paths {
		if err := makeAbsolute(c.WorkDir, p); err != nil {
			return err
		}
	}
	for _, key := range fileSettings {
		path, ok := c.Login.Settings[key].(string)
		if !ok {
			continue
		}
		if err := makeAbsolute(c.WorkDir, &path); err != nil {
			return err
		}
		c.Login.Settings[key] = path
	}
	return nil
}

func makeAbsolute(dir string, p *string) error {
	if *p == "" || (*p)[0] == '@' || filepath.IsAbs(*p) { // @: an abstract socket
		return nil
	}
	if !filepath.IsAbs(dir) { // it was gone at the start
		return fmt.Errorf("make %q absolute: no working directory", *p)
	}
	*p = filepath.Join(dir, *p)
	return nil
}
