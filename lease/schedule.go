package lease

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"

	"github.com/envexec/envexec/secret"
)

const (
	// renewFraction of a lease's time passes before it is renewed.
	renewFraction = 2.0 / 3
	// jitterFraction is how much of a wait chance may take away; it never adds.
	jitterFraction = 0.05
	// afterRotation is how long after the promised rotation a password is read.
	afterRotation = time.Second
)

// scheduler decides when an answer is due again. It has no state of its own.
type scheduler struct {
	static    time.Duration // default interval
	floor     time.Duration // no two fetches closer than this
	threshold float64       // fraction of life after which what cannot be renewed is replaced
	certMin   time.Duration // a certificate is replaced at least this long before its end
	random    func() float64
}

// shorten takes up to jitterFraction off d.
func (sc scheduler) shorten(d time.Duration) time.Duration {
	return d - time.Duration(sc.random()*jitterFraction*float64(d))
}

// fraction returns f of d, a little less by chance.
func (sc scheduler) fraction(d time.Duration, f float64) time.Duration {
	return sc.shorten(time.Duration(f * float64(d)))
}

// fetched plans e after answer a, asked for at asked and here at now.
func (sc scheduler) fetched(e *entry, s *secret.Secret, a *answer, asked, now time.Duration) {
	e.lease, e.renewAt, e.fetchAt = lease{}, never, never
	switch {
	case unwrapping(s.Request): // given once only
		return
	case bound(s) && s.LeaseTTL == 0: // ends with its token only
	case bound(s):
		e.lease = lease{start: asked, end: after(asked, s.LeaseTTL), ttl: s.LeaseTTL}
		if s.Renewable {
			e.renewAt = asked + sc.fraction(s.LeaseTTL, renewFraction)
		} else {
			e.fetchAt = asked + sc.fraction(s.LeaseTTL, sc.threshold)
		}
	case s.Request.Op == secret.Write:
		life, rest, ok := written(a)
		if !ok {
			return // done once and for good
		}
		e.lease = lease{start: asked, end: after(asked, rest), ttl: rest}
		early := max(time.Duration((1-sc.threshold)*float64(life)), min(sc.certMin, life/2))
		e.fetchAt = asked + sc.shorten(max(rest-early, 0))
	case s.KV == 0 && rotated(s.Data):
		rest := seconds(s.Data["ttl"])
		e.lease = lease{start: asked, end: asked + rest, ttl: rest, rolls: true}
		e.fetchAt = now + rest + afterRotation
		if e.refresh > 0 {
			e.fetchAt = min(e.fetchAt, now+sc.shorten(e.refresh))
		}
	default:
		e.fetchAt = now + sc.shorten(sc.interval(e))
	}
	e.fetchAt = max(e.fetchAt, now+sc.floor)
}

// interval is how often the static secret e is read.
func (sc scheduler) interval(e *entry) time.Duration {
	if e.refresh > 0 {
		return e.refresh
	}
	return sc.static
}

// renewed plans e after its lease got ttl more time, asked for at asked.
func (sc scheduler) renewed(e *entry, ttl time.Duration, renewable bool, asked, now time.Duration) {
	e.lease.end = after(asked, ttl)
	slack := max(e.lease.ttl/20, 2*time.Second)
	if renewable && ttl > 0 && ttl+slack >= e.lease.ttl {
		e.renewAt = max(asked+sc.fraction(ttl, renewFraction), now+sc.floor)
		return
	}
	sc.ending(e, now)
}

// ending plans e whose lease can get no more time: it is replaced at the
// threshold of its whole life, which may be now.
func (sc scheduler) ending(e *entry, now time.Duration) {
	e.renewAt = never
	if e.superseded {
		e.renewAt = e.lease.end // then it is dropped
		return
	}
	life := e.lease.end - e.lease.start
	at := e.lease.start + sc.fraction(life, sc.threshold)
	e.fetchAt = min(e.fetchAt, max(at, now))
}

// written finds the end of what a write made: a certificate's, or that of an
// AppRole secret id. life is its whole time, rest what is left of it.
func written(a *answer) (life, rest time.Duration, ok bool) {
	if text, _ := a.data["certificate"].(string); text != "" {
		if block, _ := pem.Decode([]byte(text)); block != nil {
			cert, err := x509.ParseCertificate(block.Bytes)
			if err != nil {
				return 0, 0, false
			}
			now := a.date
			if now.IsZero() {
				now = time.Now()
			}
			return cert.NotAfter.Sub(cert.NotBefore), max(cert.NotAfter.Sub(now), 0), true
		}
	}
	if _, has := a.data["secret_id"]; has {
		ttl := seconds(a.data["secret_id_ttl"])
		return ttl, ttl, ttl > 0
	}
	return 0, 0, false
}

// words tells e's schedule.
func (sc scheduler) words(e *entry) string {
	write, ending := e.req.Op == secret.Write, e.lease.end != 0 && e.lease.end != never
	switch {
	case e.value == nil && write:
		return "to be written"
	case bound0(e.value) && e.renewAt != never:
		return fmt.Sprintf("renewed every %v", time.Duration(renewFraction*float64(e.lease.ttl)).Round(time.Second))
	case bound0(e.value) && !ending:
		return "ends with its token"
	case e.lease.rolls:
		return "read after each rotation"
	case ending && (write || bound0(e.value)):
		return fmt.Sprintf("replaced %v before its end", max(e.lease.end-e.fetchAt, 0).Round(time.Second))
	case write:
		return "written once"
	}
	return fmt.Sprintf("read every %v", sc.interval(e))
}

// patience bounds the pause before the next try of something that ends at end;
// 0 = the end is no reason to hurry.
func patience(end, now time.Duration) time.Duration {
	if end <= now || end == never {
		return 0
	}
	return max((end-now)/8, time.Second)
}
