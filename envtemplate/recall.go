package envtemplate

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/envexec/envexec/secret"
)

// recall finds the certificates that an earlier life wrote to files, so that a restart
// issues none anew while they are good. One stands for Vault's answer to its request,
// for all templates alike, and only if all they make of it is what their files have: who
// was killed between two renames may have left parts of two issues.
type recall struct {
	cfg   *Config
	files []recalled

	mu    sync.Mutex
	asked map[secret.Key]*sync.Once // each is looked for once
	seen  map[string][]pemBlock     // by path, until files are written; then nil

	watched map[secret.Key]watched // by the question whether it was revoked
}

// watched is a certificate in use of which Vault may tell that it was revoked.
type watched struct {
	question secret.Request
	issue    secret.Key
}

// recalled is one template whose output is files.
type recalled struct {
	unit  *unit
	paths []string     // as far as they are known before it runs
	makes []secret.Key // the writes it spells out
}

func newRecall(cfg *Config, units []*unit) *recall {
	rc := &recall{cfg: cfg, asked: map[secret.Key]*sync.Once{}, seen: map[string][]pemBlock{}, watched: map[secret.Key]watched{}}
	for _, u := range units {
		w, ok := u.work.(*templateWork)
		if !ok || w.file.Path == "" {
			continue
		}
		f := recalled{unit: u, paths: []string{w.file.Path}, makes: w.src.writes}
		for _, path := range w.src.outputs {
			if inside, err := w.inSandbox(path); err == nil {
				f.paths = append(f.paths, inside)
			}
		}
		rc.files = append(rc.files, f)
	}
	return rc
}

// offer makes what the files have of an answer to req, which u is about to read, that
// answer, unless it is nothing, or more than one thing. Who reads the same waits for it.
func (rc *recall) offer(ctx context.Context, u *unit, req secret.Request, to *reads) {
	if req.Op != secret.Write || !issues(req.Path) {
		return
	}
	key := req.Key()
	rc.mu.Lock()
	once := rc.asked[key]
	if once == nil {
		once = new(sync.Once)
		rc.asked[key] = once
	}
	rc.mu.Unlock()
	once.Do(func() { rc.look(ctx, u, req, to) })
}

func (rc *recall) look(ctx context.Context, u *unit, req secret.Request, to *reads) {
	all, own := rc.blocks(u, req.Key())
	for _, among := range [][]pemBlock{all, own} {
		if leaf, ok := rc.only(among, req); ok {
			if rc.revoked(ctx, leaf, req) {
				rc.cfg.Logger.Info("certificate of the last life was revoked, it is not used again", "secret", req.String())
				return
			}
			// Counted from now: the wall clock that certificates live by may not be ours.
			to.recall(req, issueOf(leaf, all, req), time.Now().Add(rc.due(leaf.cert).Sub(rc.cfg.now())))
			return
		}
	}
}

// revokedPatience is how long Vault may take to tell whether a certificate was revoked:
// when it does not answer, what there is must do.
const revokedPatience = 3 * time.Second

// revoked asks Vault about leaf, which any token may: a role with generate_lease has its
// certificates revoked with the token that made them. What is good now is asked for again
// by the interval of all that has no lease: that token may still be alive.
func (rc *recall) revoked(ctx context.Context, leaf pemBlock, req secret.Request) bool {
	ctx, cancel := context.WithTimeout(ctx, revokedPatience)
	defer cancel()
	w := watched{secret.Request{Path: mountOf(req.Path) + "/cert/" + serial(leaf.cert), Namespace: req.Namespace}, req.Key()}
	gone, known := rc.answer(ctx, w)
	if known && !gone {
		rc.mu.Lock()
		defer rc.mu.Unlock()
		rc.watched[w.question.Key()] = w
		return false
	}
	rc.cfg.Source.Release(w.question.Key())
	return gone
}

// answer is Vault's to w's question. known: there is one.
func (rc *recall) answer(ctx context.Context, w watched) (gone, known bool) {
	s, err := rc.cfg.Source.Get(ctx, w.question)
	if err != nil {
		return false, false
	}
	at, known := s.Data["revocation_time"]
	return known && fmt.Sprint(at) != "0", known
}

// lost adds to keys, of which the Source has news, those of certificates that were revoked.
func (rc *recall) lost(ctx context.Context, keys []secret.Key) []secret.Key {
	for _, k := range keys {
		rc.mu.Lock()
		w, ok := rc.watched[k]
		rc.mu.Unlock()
		if !ok {
			continue
		}
		if gone, _ := rc.answer(ctx, w); gone {
			rc.cfg.Logger.Warn("certificate in use was revoked, issuing another", "question", w.question.String())
			keys = append(keys, w.issue)
		}
	}
	return keys
}

// forget says that the certificate of the last life for issue is not used any more.
func (rc *recall) forget(issue secret.Key) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	for k, w := range rc.watched {
		if w.issue == issue {
			delete(rc.watched, k)
			rc.cfg.Source.Release(k)
		}
	}
}

// mountOf is the mount of a path that issues: MOUNT/issue/ROLE or MOUNT/issuer/NAME/issue/ROLE.
func mountOf(path string) string {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	parts = parts[:len(parts)-2]
	if n := len(parts); n > 2 && parts[n-2] == "issuer" {
		parts = parts[:n-2]
	}
	return strings.Join(parts, "/")
}

// blocks are those in the files of all templates that make the write key, and in u's own.
func (rc *recall) blocks(u *unit, key secret.Key) (all, own []pemBlock) {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	spelled := slices.ContainsFunc(rc.files, func(f recalled) bool { return slices.Contains(f.makes, key) })
	for _, f := range rc.files {
		if f.unit != u && spelled && !slices.Contains(f.makes, key) {
			continue
		}
		for _, path := range f.paths {
			found, ok := rc.seen[path]
			if !ok {
				if found = blocksIn(path); rc.seen != nil {
					rc.seen[path] = found
				}
			}
			all = append(all, found...)
			if f.unit == u {
				own = append(own, found...)
			}
		}
	}
	return all, own
}

// Recalled is a certificate of an earlier life that is in use: its Source does not know it.
type Recalled struct {
	Request secret.Request
	Age     time.Duration // since it was issued
	NextIn  time.Duration // until it is replaced
	EndsIn  time.Duration // until it is no longer good
}

// Recalled lists the certificates that were found in files, in no order.
func (r *Renderer) Recalled() []Recalled {
	rs := r.recalled.Load()
	if rs == nil {
		return nil
	}
	rs.mu.Lock()
	defer rs.mu.Unlock()
	var all []Recalled
	for rd, end := range rs.ends {
		if rs.byKey[rd.key] == rd {
			all = append(all, Recalled{rd.req, time.Since(rd.sec.ReadAt), time.Until(end), time.Until(certificateEnd(rd.sec))})
		}
	}
	return all
}

// written says that the files are no longer as they were at the start.
func (rc *recall) written() {
	rc.mu.Lock()
	defer rc.mu.Unlock()
	rc.seen = nil
}

// issues reports whether a write to path makes a certificate.
func issues(path string) bool {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	return len(parts) > 2 && (parts[len(parts)-2] == "issue" || parts[len(parts)-2] == "sign")
}

// blocksIn is what the file at path has, nothing if it cannot be read.
func blocksIn(path string) []pemBlock {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil
	}
	blocks, err := pemBlocks(text)
	if err != nil {
		return nil
	}
	return blocks
}

// only is the one certificate among blocks that req asks for and that is still good.
func (rc *recall) only(blocks []pemBlock, req secret.Request) (leaf pemBlock, ok bool) {
	for _, b := range blocks {
		if b.cert == nil || b.cert.IsCA || b.text == leaf.text || !answers(b.cert, req.Body) || !rc.due(b.cert).After(rc.cfg.now()) {
			continue
		}
		if leaf.cert != nil {
			return leaf, false
		}
		leaf = b
	}
	return leaf, leaf.cert != nil
}

// due is when cert is replaced.
func (rc *recall) due(cert *x509.Certificate) time.Time {
	life := cert.NotAfter.Sub(cert.NotBefore)
	early := max(time.Duration((1-rc.cfg.RenewalThreshold)*float64(life)), min(rc.cfg.CertMinRemaining, life/2))
	return cert.NotAfter.Add(-early)
}

// answers reports whether cert carries the names body asks for, and the key it sends.
func answers(cert *x509.Certificate, body map[string]any) bool {
	asked := false
	has := func(name string) bool {
		return name == cert.Subject.CommonName || slices.Contains(cert.DNSNames, name) || slices.Contains(cert.EmailAddresses, name) ||
			slices.ContainsFunc(cert.IPAddresses, func(ip net.IP) bool { return ip.Equal(net.ParseIP(name)) }) ||
			slices.ContainsFunc(cert.URIs, func(u *url.URL) bool { return u.String() == name })
	}
	for _, field := range []string{"common_name", "alt_names", "ip_sans", "uri_sans"} {
		names, _ := body[field].(string)
		for name := range strings.SplitSeq(names, ",") {
			if name = strings.TrimSpace(name); name == "" {
				continue
			}
			if asked = true; !has(name) {
				return false
			}
		}
	}
	if text, sent := body["csr"].(string); sent {
		block, _ := pem.Decode([]byte(text))
		if block == nil {
			return false
		}
		csr, err := x509.ParseCertificateRequest(block.Bytes)
		return err == nil && bytes.Equal(csr.RawSubjectPublicKeyInfo, cert.RawSubjectPublicKeyInfo)
	}
	return asked
}

// issueOf is the answer that gave leaf, as far as blocks have it.
func issueOf(leaf pemBlock, blocks []pemBlock, req secret.Request) *secret.Secret {
	data := map[string]any{
		"certificate":   strings.TrimSuffix(leaf.text, "\n"), // as Vault writes it
		"serial_number": serial(leaf.cert),
		"expiration":    json.Number(strconv.FormatInt(leaf.cert.NotAfter.Unix(), 10)),
	}
	for _, b := range blocks {
		if b.cert != nil {
			continue
		}
		if _, err := tls.X509KeyPair([]byte(leaf.text), []byte(b.text)); err == nil {
			data["private_key"] = strings.TrimSuffix(b.text, "\n")
			break
		}
	}
	var chain []any
	for cert := leaf.cert; cert != nil; {
		issuer := issuerOf(cert, blocks)
		if cert = issuer.cert; cert == nil || slices.Contains(chain, any(strings.TrimSuffix(issuer.text, "\n"))) {
			break
		}
		chain = append(chain, strings.TrimSuffix(issuer.text, "\n"))
	}
	if len(chain) > 0 {
		data["issuing_ca"], data["ca_chain"] = chain[0], chain
	}
	return &secret.Secret{Request: req, Data: data, ReadAt: leaf.cert.NotBefore}
}

// issuerOf is the authority among blocks that signed cert.
func issuerOf(cert *x509.Certificate, blocks []pemBlock) pemBlock {
	for _, b := range blocks {
		if b.cert != nil && b.cert.IsCA && cert.CheckSignatureFrom(b.cert) == nil {
			return b
		}
	}
	return pemBlock{}
}

// serial is the certificate's number as Vault writes it.
func serial(cert *x509.Certificate) string {
	var parts []string
	for _, b := range cert.SerialNumber.Bytes() {
		parts = append(parts, string("0123456789abcdef"[b>>4])+string("0123456789abcdef"[b&15]))
	}
	return strings.Join(parts, ":")
}

// partNames are the parts of an answer by the names templates know them: secret's, then pkiCert's.
var partNames = map[string]string{
	"certificate": "certificate", "private_key": "private_key", "private_key_type": "private_key_type", "issuing_ca": "issuing_ca",
	"ca_chain": "ca_chain", "serial_number": "serial_number", "expiration": "expiration",
	"Cert": "certificate", "Key": "private_key", "CA": "issuing_ca", "CAChain": "ca_chain",
}

// serves reports whether s, of an earlier life, has all that w looks at, and what w made
// of it is what its files have.
func serves(s *secret.Secret, w worker, out output, err error) bool {
	t, ok := w.(*templateWork)
	if !ok || len(out.vars) > 0 {
		return false // there is no telling
	}
	named := false
	for field := range t.src.fields {
		part, known := partNames[field]
		if _, there := s.Data[part]; known && !there {
			return false
		}
		named = named || known
	}
	if key, ok := errors.AsType[*KeyError](err); !named || ok && key.Request == s.Request.String() {
		return false
	}
	if err != nil {
		return true // of something else
	}
	for _, f := range out.files {
		now, _ := pemBlocks([]byte(f.Contents.Reveal()))
		if !maps.Equal(textsOf(now), textsOf(blocksIn(f.Path))) {
			return false
		}
	}
	return true
}

func textsOf(blocks []pemBlock) map[string]bool {
	texts := map[string]bool{}
	for _, b := range blocks {
		texts[b.text] = true
	}
	return texts
}
