package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"strings"
	"time"

	"github.com/envexec/envexec/auth/sink"
	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
)

// local checks what is on this machine: program, templates, files, ports.
func (c *checkup) local(cfg *config.Config, env environ.Environ) {
	c.program(cfg, env)
	c.appended("the program's standard output", cfg.Program.Stdout)
	c.appended("the program's standard error", cfg.Program.Stderr)
	c.appended("log_file", cfg.Log.File)
	c.appended("pid_file", cfg.PIDFile)
	for _, s := range cfg.Sockets {
		c.port(s.Network, s.Address)
	}
	for _, l := range cfg.Listeners {
		c.port(l.Type, l.Address)
	}
	c.certificates(cfg)
	c.credentials(cfg.Login)
	c.persist(cfg.Cache.Persist)
	for _, s := range cfg.Sinks {
		c.directory("sink", "sink", s.Path, false, true)
		if s.DHPath != "" {
			c.peerKey(s.DHPath)
		}
	}
	for _, f := range cfg.Secrets.RenderFiles {
		c.directory("file", "file", f.Destination, true, true)
	}
	for _, t := range cfg.Secrets.Templates {
		if t.Destination != "" {
			c.directory("file", "template", t.Destination, t.CreateDestDirs, false)
		}
	}
}

// peerKey checks the public key that a sink is encrypted for.
func (c *checkup) peerKey(path string) {
	if !c.credential("dh_path", path, false) {
		return
	}
	c.fail("credential", statusConfig, (&sink.DH{PublicKeyPath: path}).Check())
}

func (c *checkup) program(cfg *config.Config, env environ.Environ) {
	j := &job{cfg: cfg, env: env, log: silent()}
	p := &parsing{}
	j.ownSignals = j.taken(p)
	j.rules = newChangeRules(p, cfg, nil)
	c.fail("program", statusConfig, errors.Join(p.errs...))
	if len(cfg.Program.Args) == 0 {
		return
	}
	if _, err := j.newProgram(); err != nil {
		c.fail("program", statusConfig, err)
		return
	}
	c.add(fine, "program", "%s can be run", cfg.Program.Args[0])
}

// persist checks the sealed cache's directory and key.
func (c *checkup) persist(p config.Persist) {
	if p.Type == "" {
		return
	}
	c.directory("file", "cache.persist", p.Path+"/cache", true, true)
	for _, f := range []struct{ what, file string }{{"cache.persist key_file", p.KeyFile}, {"cache.persist service_account_token_file", p.TokenFile}} {
		if f.file != "" && (p.Type == "file") == (f.file == p.KeyFile) {
			c.credential(f.what, f.file, true)
		}
	}
}

// port binds an address and lets it go at once. A unix socket is only asked for: binding
// would remove one that was left behind.
func (c *checkup) port(network, address string) {
	ctx := context.Background()
	var (
		err  error
		conf net.ListenConfig
	)
	switch {
	case strings.HasPrefix(network, "unix"):
		c.socket(network, address)
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

// socket checks the place of a unix socket.
func (c *checkup) socket(network, address string) {
	if strings.HasPrefix(address, "@") { // abstract, in no directory
		c.add(fine, "listener", "%s %s needs no directory", network, address)
		return
	}
	info, err := os.Lstat(address)
	if err == nil && info.Mode()&fs.ModeSocket == 0 {
		c.fail("listener", statusConfig, fmt.Errorf("%s %s: a file that is no socket is in its place", network, address))
		return
	}
	if err == nil {
		if conn, err := net.DialTimeout(network, address, time.Second); err == nil {
			_ = conn.Close()
			c.fail("listener", statusConfig, fmt.Errorf("%s %s: another process is listening there", network, address))
			return
		}
	}
	c.directory("listener", network, address, false, true)
}
