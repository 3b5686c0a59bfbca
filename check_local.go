package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
)

// soon is how long before a certificate's end check begins to warn.
const soon = 14 * 24 * time.Hour

// local checks what is on this machine: program, templates, files, ports.
func (c *checkup) local(cfg *config.Config, env environ.Environ) {
	j := &job{cfg: cfg, env: env, log: silent()}
	p := &parsing{}
	j.ownSignals = j.taken(p)
	j.rules = newChangeRules(p, cfg, nil)
	c.fail("program", statusConfig, errors.Join(p.errs...))
	if len(cfg.Program.Args) > 0 {
		if _, err := j.newProgram(); err != nil {
			c.fail("program", statusConfig, err)
		} else {
			c.add(fine, "program", "%s can be run", cfg.Program.Args[0])
		}
	}
	for _, f := range []string{cfg.Program.Stdout, cfg.Program.Stderr, cfg.Log.File, cfg.PIDFile} {
		if f != "" {
			c.directory("file", f)
		}
	}
	for _, s := range cfg.Sockets {
		c.port(s.Network, s.Address)
	}
	for _, l := range cfg.Listeners {
		c.port(l.Type, l.Address)
		c.certificate(l.TLSCertFile)
		c.certificate(l.TLSClientCAFile)
		if !l.TLSDisable {
			_, err := tls.LoadX509KeyPair(l.TLSCertFile, l.TLSKeyFile)
			c.fail("certificate", statusConfig, err)
		}
	}
	c.certificate(cfg.Vault.CACert)
	c.certificate(cfg.Vault.ClientCert)
	c.credentials(cfg.Login)
	for _, s := range cfg.Sinks {
		c.directory("sink", s.Path)
	}
	for _, f := range cfg.Secrets.RenderFiles {
		c.directory("file", f.Destination)
	}
	for _, t := range cfg.Secrets.Templates {
		if !t.CreateDestDirs {
			c.directory("file", t.Destination)
		}
	}
}

// port binds an address and lets it go at once. A unix socket is not tried: that
// would remove one in use.
func (c *checkup) port(network, address string) {
	ctx := context.Background()
	var (
		err  error
		conf net.ListenConfig
	)
	switch {
	case strings.HasPrefix(network, "unix"):
		if !strings.HasPrefix(address, "@") {
			c.directory("listener", address)
		}
		return
	case strings.HasPrefix(network, "udp"):
		var p net.PacketConn
		if p, err = conf.ListenPacket(ctx, network, address); err == nil {
			err = p.Close()
		}
	default:
		var l net.Listener
		if l, err = conf.Listen(ctx, network, address); err == nil {
			err = l.Close()
		}
	}
	if err != nil {
		c.fail("listener", statusConfig, err)
		return
	}
	c.add(fine, "listener", "%s %s can be bound", network, address)
}

// directory checks that the directory a file goes to is there.
func (c *checkup) directory(area, file string) {
	dir := filepath.Dir(file)
	info, err := os.Stat(dir)
	switch {
	case err != nil:
		c.fail(area, statusConfig, err)
	case !info.IsDir():
		c.fail(area, statusConfig, fmt.Errorf("%s is no directory", dir))
	default:
		c.add(fine, area, "%s has a directory to be in", file)
	}
}

// credentials checks the files the login reads; *_path and *_file are the methods' keys for them.
func (c *checkup) credentials(l config.Login) {
	for _, key := range slices.Sorted(maps.Keys(l.Settings)) {
		file, isText := l.Settings[key].(string)
		if !isText || file == "" || strings.Contains(key, "wrapping") || !strings.HasSuffix(key, "_file_path") {
			continue
		}
		info, err := os.Stat(file)
		switch {
		case err != nil:
			c.fail("credential", statusConfig, fmt.Errorf("%s: %w", key, err))
		case info.Mode().Perm()&0o004 != 0 && key != "role_id_file_path":
			c.add(doubt, "credential", "%s: everybody may read %s", key, file)
		default:
			c.add(fine, "credential", "%s: %s is there", key, file)
		}
	}
}

// certificate checks when the certificates of a PEM file end; "" is no file.
func (c *checkup) certificate(file string) {
	if file == "" {
		return
	}
	text, err := os.ReadFile(file)
	if err != nil {
		c.fail("certificate", statusConfig, err)
		return
	}
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			c.fail("certificate", statusConfig, fmt.Errorf("%s: %w", file, err))
			continue
		}
		left, end := time.Until(cert.NotAfter), cert.NotAfter.UTC().Format(time.RFC3339)
		switch {
		case left <= 0:
			c.fail("certificate", statusConfig, fmt.Errorf("%s: ended at %s", file, end))
		case left < soon:
			c.add(doubt, "certificate", "%s: ends soon, at %s", file, end)
		default:
			c.add(fine, "certificate", "%s: ends at %s", file, end)
		}
	}
}
