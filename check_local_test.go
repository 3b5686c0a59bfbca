package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/envexec/envexec/config"
)

// certificate is one in PEM, with its key, valid from an hour ago for left.
func certificate(t *testing.T, name string, left time.Duration, ips ...string) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	begin := time.Now().Add(-2 * time.Hour)
	if left > 24*365*time.Hour {
		begin = time.Now().Add(24 * 365 * time.Hour)
	}
	text := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, NotBefore: begin, NotAfter: time.Now().Add(left)}
	for _, ip := range ips {
		text.IPAddresses = append(text.IPAddresses, net.ParseIP(ip))
	}
	der, err := x509.CreateCertificate(rand.Reader, text, text, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER}))
}

// told compares findings with lines "LEVEL TEXT", in order.
func told(t *testing.T, c *checkup, want ...string) {
	t.Helper()
	ok := len(c.Findings) == len(want)
	for i := 0; ok && i < len(want); i++ {
		level, text, _ := strings.Cut(want[i], " ")
		ok = string(c.Findings[i].Level) == level && strings.Contains(c.Findings[i].Message, text)
	}
	if !ok {
		t.Errorf("want %q, got %+v", want, c.Findings)
	}
}

// What check says of certificates by their time, of bundles, and of keys that are not theirs.
func TestCheckCertificates(t *testing.T) {
	dir := t.TempDir()
	const year = 24 * 365 * time.Hour
	good, goodKey := certificate(t, "good", 1000*time.Hour)
	ended, endedKey := certificate(t, "old", -time.Hour)
	soon, _ := certificate(t, "soon", time.Hour)
	future, _ := certificate(t, "future", 2*year)
	for name, text := range map[string]string{
		"good": good, "good.key": goodKey, "ended": ended, "ended.key": endedKey, "soon": soon, "future": future,
		"bundle": ended + good + soon, "dead": ended + ended, "nothing": "x", "key": goodKey,
	} {
		place(t, dir, name, text)
	}
	if err := os.Chmod(filepath.Join(dir, "ended.key"), 0o644); err != nil {
		t.Fatal(err)
	}
	at := func(name string) string {
		if name == "" {
			return ""
		}
		return filepath.Join(dir, name)
	}
	for name, want := range map[string][]string{
		"good":    {"ok good: ends at "},
		"soon":    {"warning soon: ends soon, at "},
		"ended":   {"problem ended: ended at "},
		"future":  {"problem future: begins only at "},
		"nothing": {"problem nothing has no certificate in it"},
		"key":     {"problem key has no certificate in it, only a key"},
		"absent":  {"problem ca_cert: open"},
		"bundle":  {`warning bundle: "old" ended at`, `warning bundle: "soon" ends soon`, "ok bundle: 2 authorities are valid"},
		"dead":    {`problem "old" ended at`, `problem "old" ended at`},
		"":        {},
	} {
		c := &checkup{}
		c.authorities("ca_cert", at(name))
		told(t, c, want...)
	}
	for _, k := range []struct {
		cert, key string
		want      []string
	}{
		{"good", "good.key", []string{"ok good: ends at", "ok good.key is there"}},
		{"good", "ended.key", []string{"ok good: ends at", "problem client_key: " + at("ended.key") + ": tls: private key does not match"}},
		{"good", "absent", []string{"ok good: ends at", "problem client_key: "}},
		{"ended", "ended.key", []string{"problem ended at"}},
		{"soon", "good.key", []string{"warning ends soon", "problem does not match"}},
	} {
		c := &checkup{}
		c.pair("client_cert", at(k.cert), "client_key", at(k.key))
		told(t, c, k.want...)
	}

	everywhere := &config.Config{
		Vault:     config.Vault{CACert: at("ended"), CAPath: at("absent"), ClientCert: at("ended")},
		Login:     config.Login{Method: "cert", Settings: map[string]any{"ca_cert": at("ended"), "client_cert": at("ended")}},
		Listeners: []config.Listener{{TLSCertFile: at("ended"), TLSClientCAFile: at("soon")}, {TLSDisable: true, TLSCertFile: at("ended")}},
	}
	c := &checkup{}
	c.certificates(everywhere)
	told(t, c, "problem ca_cert: ", "problem ca_path: ", "problem client_cert: ", "problem auto_auth ca_cert: ", "problem auto_auth client_cert: ", "problem tls_cert_file: ", "warning tls_client_ca_file: ")
}

// Ports that are taken or not ours, and unix sockets in use, left behind, or in no directory.
func TestCheckPorts(t *testing.T) {
	dir := t.TempDir()
	tcp, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	used, err := net.Listen("unix", filepath.Join(dir, "used"))
	if err != nil {
		t.Fatal(err)
	}
	defer used.Close()
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(dir, "left"), Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	_ = left.Close()
	place(t, dir, "file", "")
	for _, k := range []struct{ network, address, want string }{
		{"tcp", tcp.Addr().String(), "problem listen tcp " + tcp.Addr().String()},
		{"udp", udp.LocalAddr().String(), "problem listen udp " + udp.LocalAddr().String()},
		{"tcp", "127.0.0.1:0", "ok tcp 127.0.0.1:0 can be bound"},
		{"udp", "127.0.0.1:0", "ok udp 127.0.0.1:0 can be bound"},
		{"tcp", "192.0.2.1:1", "problem listen tcp 192.0.2.1:1"},
		{"unix", filepath.Join(dir, "used"), "problem another process is listening there"},
		{"unix", filepath.Join(dir, "left"), "ok left can be written"},
		{"unix", filepath.Join(dir, "file"), "problem a file that is no socket is in its place"},
		{"unix", filepath.Join(dir, "absent", "s"), "problem s cannot be made in " + filepath.Join(dir, "absent")},
		{"unix", "@abstract", "ok needs no directory"},
	} {
		c := &checkup{}
		c.port(k.network, k.address)
		told(t, c, k.want)
	}
	if _, err := os.Stat(filepath.Join(dir, "left")); err != nil {
		t.Error("check took a socket's file away")
	}
}
