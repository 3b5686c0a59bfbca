package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/go-rootcerts"
	"github.com/hashicorp/vault/api"
	"golang.org/x/net/http/httpproxy"
	"golang.org/x/time/rate"

	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/environ"
)

// newClient makes the client every request to Vault starts from: no token, no
// retries of its own. What the environment says has been read by config, so the
// library is kept from reading VAULT_* again, behind the precedence of flags and files.
func newClient(v config.Vault, inherited environ.Environ) (*api.Client, error) {
	return newClientOver(v, inherited, "h2", "http/1.1")
}

// newClientOver is newClient with the protocols offered under TLS.
func newClientOver(v config.Vault, inherited environ.Environ, protocols ...string) (*api.Client, error) {
	for name := range inherited.All() {
		if strings.HasPrefix(name, "VAULT_") {
			if err := os.Unsetenv(name); err != nil {
				return nil, fmt.Errorf("clear %s: %w", name, err)
			}
		}
	}
	transport, err := newTransport(v, inherited, protocols...)
	if err != nil {
		return nil, err
	}
	cfg := &api.Config{
		Address:          v.Address,
		HttpClient:       &http.Client{Transport: transport, CheckRedirect: leaveRedirects},
		Timeout:          v.ClientTimeout,
		SRVLookup:        v.SRVLookup,
		DisableRedirects: v.DisableRedirects,
		CloneHeaders:     true,
	}
	if cfg.Limiter, err = parseRateLimit(v.RateLimit); err != nil {
		return nil, err
	}
	client, err := api.NewClient(cfg)
	if err != nil {
		return nil, fmt.Errorf("use Vault address %q: %w", v.Address, err)
	}
	client.SetMaxRetries(0)
	client.ClearToken()
	if v.Namespace != "" {
		client.SetNamespace(v.Namespace)
	}
	for name, value := range v.Headers {
		client.AddHeader(name, value)
	}
	return client, nil
}

// clientFor is the client of some features of Vault Agent, by its names for them: their
// own where disable_idle_connections or disable_keep_alives names one, else the common one.
func (v *vaultSide) clientFor(env environ.Environ, features ...string) (*api.Client, error) {
	noIdle, noKeep := among(v.cfg.Vault.DisableIdle, features), among(v.cfg.Vault.DisableKeepAlives, features)
	if !noIdle && !noKeep {
		return v.client, nil
	}
	client, err := newClient(v.cfg.Vault, env)
	if err != nil {
		return nil, err
	}
	limitKeeping(client, noIdle, noKeep)
	v.own = append(v.own, client)
	return client, nil
}

// listenerClient is the listeners' client. Its connections speak HTTP/1.1, over which a
// request costs the least, and are as many as there are requests: max_connections_per_host
// is about templates.
func (v *vaultSide) listenerClient(env environ.Environ) (*api.Client, error) {
	features := []string{"caching", "proxying"}
	client, err := newClientOver(v.cfg.Vault, env, "http/1.1")
	if err != nil {
		return nil, err
	}
	limitKeeping(client, among(v.cfg.Vault.DisableIdle, features), among(v.cfg.Vault.DisableKeepAlives, features))
	return client, nil
}

func among(listed, features []string) bool {
	return slices.ContainsFunc(features, func(f string) bool { return slices.Contains(listed, f) })
}

// limitKeeping has the connections of a client of newClient's end sooner.
func limitKeeping(client *api.Client, noIdle, noKeep bool) {
	transport := client.CloneConfig().HttpClient.Transport.(*http.Transport)
	transport.DisableKeepAlives = noKeep
	if noIdle {
		transport.MaxIdleConnsPerHost = -1
	}
}

// leaveRedirects hands redirects to the api package, which follows a standby's itself.
func leaveRedirects(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// newEventsRoad returns how the request for the event stream is sent: it becomes a
// WebSocket, which HTTP/2 cannot. nil: there is no such road.
func newEventsRoad(v config.Vault, inherited environ.Environ) (func(*http.Request) (*http.Response, error), error) {
	base, err := url.Parse(v.Address)
	if err != nil || base.Scheme != "http" && base.Scheme != "https" {
		return nil, nil //nolint:nilerr // a socket or a name that is looked up has none
	}
	transport, err := newTransport(v, inherited, "http/1.1")
	if err != nil {
		return nil, err
	}
	return func(r *http.Request) (*http.Response, error) {
		r.URL.Scheme, r.URL.Host = base.Scheme, base.Host
		r.URL.Path = strings.TrimSuffix(base.Path, "/") + r.URL.Path
		for name, value := range v.Headers {
			r.Header.Add(name, value)
		}
		return transport.RoundTrip(r)
	}, nil
}

// newTransport makes the connections to Vault; protocols are those offered under TLS.
func newTransport(v config.Vault, inherited environ.Environ, protocols ...string) (*http.Transport, error) {
	road, err := newTunnel(v, inherited, protocols...)
	if err != nil {
		return nil, err
	}
	now, err := road.tls()
	if err != nil {
		return nil, err
	}
	return &http.Transport{
		Proxy:               road.forPlain,
		DialContext:         road.dialer.DialContext,
		DialTLSContext:      road.dialTLS,
		TLSClientConfig:     now, // for its sake the api package leaves HTTP/2 on
		ForceAttemptHTTP2:   slices.Contains(protocols, "h2"),
		MaxIdleConnsPerHost: 16,
		MaxConnsPerHost:     v.MaxConnections,
		IdleConnTimeout:     90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second,
	}, nil
}

// proxyFunc chooses the HTTP proxy: the one for Vault alone, else the usual
// variables, from which loopback is always exempt (httpproxy).
func proxyFunc(address string, inherited environ.Environ) (func(*url.URL) (*url.URL, error), error) {
	if address != "" {
		u, err := url.Parse(address)
		if err != nil {
			return nil, errors.New("VAULT_PROXY_ADDR is not a URL") // it may hold a password
		}
		return func(*url.URL) (*url.URL, error) { return u, nil }, nil
	}
	first := func(names ...string) string {
		for _, n := range names {
			if value, ok := inherited.Get(n); ok && value != "" {
				return value
			}
		}
		return ""
	}
	return (&httpproxy.Config{
		HTTPProxy:  first("HTTP_PROXY", "http_proxy"),
		HTTPSProxy: first("HTTPS_PROXY", "https_proxy"),
		NoProxy:    first("NO_PROXY", "no_proxy"),
	}).ProxyFunc(), nil
}

// tlsFiles makes a TLS configuration from the files as they are now: certificates
// rotated on disk are used from the next connection on.
type tlsFiles struct {
	v         config.Vault
	protocols []string
}

func (t tlsFiles) config() (*tls.Config, error) {
	cfg := &tls.Config{
		MinVersion:         tls.VersionTLS12,
		ServerName:         t.v.TLSServerName,
		InsecureSkipVerify: t.v.TLSSkipVerify, //nolint:gosec // asked for by tls_skip_verify
		NextProtos:         t.protocols,
	}
	if t.v.CACert != "" || t.v.CACertBytes != "" || t.v.CAPath != "" {
		pool, err := rootcerts.LoadCACerts(&rootcerts.Config{
			CAFile: t.v.CACert, CAPath: t.v.CAPath, CACertificate: []byte(t.v.CACertBytes),
		})
		if err != nil {
			return nil, fmt.Errorf("load the CA certificates for Vault: %w", err)
		}
		cfg.RootCAs = pool
	}
	if t.v.ClientCert != "" {
		pair, err := tls.LoadX509KeyPair(t.v.ClientCert, t.v.ClientKey)
		if err != nil {
			return nil, fmt.Errorf("load the client certificate %s with the key %s: %w", t.v.ClientCert, t.v.ClientKey, err)
		}
		// Given whatever CAs the server lists: cert auth may trust others.
		cfg.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	return cfg, nil
}

// parseRateLimit reads "rate[:burst]", requests per second, as VAULT_RATE_LIMIT has it.
func parseRateLimit(s string) (*rate.Limiter, error) {
	if s == "" {
		return nil, nil
	}
	perSecond, burst, hasBurst := strings.Cut(s, ":")
	r, err := strconv.ParseFloat(perSecond, 64)
	b := int(r)
	if err == nil && hasBurst {
		b, err = strconv.Atoi(burst)
	}
	if err != nil || !(r > 0) || b < 1 {
		return nil, errors.New("VAULT_RATE_LIMIT is not RATE or RATE:BURST: " + strconv.Quote(s))
	}
	return rate.NewLimiter(rate.Limit(r), b), nil
}
