package proxy

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// certificates is a listener's TLS, kept up to date with its files.
type certificates struct {
	files  *TLS
	config *tls.Config // for the server; asks current at each handshake
	log    *slog.Logger

	current atomic.Pointer[tls.Config]
	mu      sync.Mutex // loading
	looked  time.Time
	seen    []stamp
}

// stamp tells whether a file changed.
type stamp struct {
	modified time.Time
	size     int64
	mode     fs.FileMode
}

// lookEvery is how often handshakes cause a look at the files.
const lookEvery = time.Second

var tlsVersions = map[string]uint16{"tls10": tls.VersionTLS10, "tls11": tls.VersionTLS11, "tls12": tls.VersionTLS12, "tls13": tls.VersionTLS13}

func newCertificates(files *TLS, log *slog.Logger) (*certificates, error) {
	c := &certificates{files: files, log: log}
	if err := c.load(); err != nil {
		return nil, err
	}
	c.config = &tls.Config{
		NextProtos:         []string{"h2", "http/1.1"},
		MinVersion:         c.current.Load().MinVersion,
		GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { c.look(); return c.current.Load(), nil },
	}
	return c, nil
}

// look reads the files again when they changed.
func (c *certificates) look() {
	if !c.mu.TryLock() {
		return
	}
	now := time.Now()
	due := now.Sub(c.looked) >= lookEvery && !slices.Equal(c.seen, c.stamps())
	if now.Sub(c.looked) >= lookEvery {
		c.looked = now
	}
	c.mu.Unlock()
	if !due {
		return
	}
	if err := c.load(); err != nil {
		c.log.Warn("certificate cannot be reloaded, the old one stays", "file", c.files.CertFile, "error", err)
		return
	}
	c.log.Info("certificate reloaded", "file", c.files.CertFile)
}

func (c *certificates) stamps() []stamp {
	var out []stamp
	for _, path := range []string{c.files.CertFile, c.files.KeyFile, c.files.ClientCAFile} {
		var s stamp
		if info, err := os.Stat(path); err == nil {
			s = stamp{info.ModTime(), info.Size(), info.Mode()}
		}
		out = append(out, s)
	}
	return out
}

// load makes a new current configuration from the files.
func (c *certificates) load() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.seen, c.looked = c.stamps(), time.Now()
	f := c.files
	pair, err := tls.LoadX509KeyPair(f.CertFile, f.KeyFile)
	if err != nil {
		return fmt.Errorf("load certificate: %w", err)
	}
	cfg := &tls.Config{Certificates: []tls.Certificate{pair}, NextProtos: []string{"h2", "http/1.1"}, MinVersion: tls.VersionTLS12}
	if err := versions(cfg, f); err != nil {
		return err
	}
	if cfg.CipherSuites, err = suites(f.CipherSuites); err != nil {
		return err
	}
	switch {
	case f.RequireClientCert && f.DisableClientCerts:
		return errors.New("client certificates cannot be both required and disabled")
	case f.RequireClientCert:
		cfg.ClientAuth = tls.RequireAndVerifyClientCert
		if f.ClientCAFile != "" {
			pem, err := os.ReadFile(f.ClientCAFile)
			if err != nil {
				return fmt.Errorf("load client authorities: %w", err)
			}
			cfg.ClientCAs = x509.NewCertPool()
			if !cfg.ClientCAs.AppendCertsFromPEM(pem) {
				return fmt.Errorf("load client authorities: no certificate in %s", f.ClientCAFile)
			}
		}
	case !f.DisableClientCerts:
		cfg.ClientAuth = tls.RequestClientCert
	}
	c.current.Store(cfg)
	return nil
}

func versions(cfg *tls.Config, f *TLS) error {
	for _, v := range []struct {
		name string
		to   *uint16
	}{{f.MinVersion, &cfg.MinVersion}, {f.MaxVersion, &cfg.MaxVersion}} {
		number, known := tlsVersions[v.name]
		switch {
		case known:
			*v.to = number
		case v.name != "":
			return fmt.Errorf("unknown TLS version %q", v.name)
		}
	}
	if cfg.MaxVersion != 0 && cfg.MaxVersion < cfg.MinVersion {
		return errors.New("the highest TLS version is below the lowest")
	}
	return nil
}

func suites(names []string) ([]uint16, error) {
	var out []uint16
	for _, name := range names {
		i := slices.IndexFunc(tls.CipherSuites(), func(s *tls.CipherSuite) bool { return s.Name == name })
		if i < 0 {
			return nil, fmt.Errorf("unknown cipher suite %q", name)
		}
		out = append(out, tls.CipherSuites()[i].ID)
	}
	return out, nil
}
