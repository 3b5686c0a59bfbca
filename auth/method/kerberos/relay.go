package kerberos

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/jcmturner/gokrb5/v8/config"
	"github.com/jcmturner/gokrb5/v8/iana/errorcode"
	"github.com/jcmturner/gokrb5/v8/messages"
)

const (
	kdcTimeout = 4500 * time.Millisecond // for one answer; the library itself gives up after 5 s
	maxMessage = 1 << 20                 // a ticket with a thousand groups has 64 KiB
)

// relay stands between the library and the KDCs. The library knows no context and
// lets go of a silent KDC only after 5 s; so the one KDC it is told of, for every realm, is
// an address on loopback that ends when ctx does, and the relay asks the real ones.
//
// The library tries an address as often as it is listed, once for each real one: the nth
// try of a request goes to the nth KDC.
type relay struct {
	ctx      context.Context
	listener net.Listener
	work     sync.WaitGroup

	given []config.Realm // as in krb5.conf
	dns   bool           // dns_lookup_kdc
	limit int            // udp_preference_limit

	mu   sync.Mutex
	conf *config.Config // the library's; changed only while it waits for us
	kdcs map[string][]kdc
	try  int   // of the request under way
	err  error // why the last try failed; nil when a KDC answered
}

type kdc struct{ network, address string }

// newRelay makes conf lead to itself, for the realms that are known from the start.
func newRelay(ctx context.Context, conf *config.Config, realms ...string) (*relay, error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for the kerberos library: %w", err)
	}
	r := &relay{
		ctx: ctx, listener: listener, conf: conf, kdcs: map[string][]kdc{},
		given: conf.Realms, dns: conf.LibDefaults.DNSLookupKDC, limit: conf.LibDefaults.UDPPreferenceLimit,
	}
	conf.Realms, conf.LibDefaults.DNSLookupKDC, conf.LibDefaults.UDPPreferenceLimit = nil, false, 1
	for _, realm := range realms {
		if err := r.add(realm); err != nil {
			_ = listener.Close()
			return nil, err
		}
	}
	r.work.Go(r.serve)
	return r, nil
}

// close ends the relay; no goroutine of it is left then.
func (r *relay) close() {
	_ = r.listener.Close()
	r.work.Wait()
}

// failure is why no KDC could be asked; nil when one answered.
func (r *relay) failure() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.err
}

// add looks realm's KDCs up and leads the library to us for it.
func (r *relay) add(realm string) error {
	if realm == "" || r.kdcs[realm] != nil {
		return nil
	}
	list, err := r.find(realm)
	if err != nil {
		return err
	}
	r.kdcs[realm] = list
	r.conf.Realms = append(r.conf.Realms, config.Realm{Realm: realm, KDC: slices.Repeat([]string{r.listener.Addr().String()}, len(list))})
	return nil
}

// find lists what to try for realm: over UDP first unless krb5.conf is for TCP alone.
func (r *relay) find(realm string) (list []kdc, err error) {
	networks := []string{"udp", "tcp"}
	if r.limit == 1 {
		networks = networks[1:]
	}
	for _, network := range networks {
		for _, g := range r.given {
			if g.Realm != realm {
				continue
			}
			for _, address := range g.KDC {
				list = append(list, kdc{network, address})
			}
		}
	}
	switch {
	case len(list) > 0:
		return list, nil
	case !r.dns:
		return nil, fmt.Errorf("%w of realm %q", errNotNamed, realm)
	}
	for _, network := range networks {
		_, records, lookup := net.DefaultResolver.LookupSRV(r.ctx, "kerberos", network, realm)
		for _, s := range records {
			list = append(list, kdc{network, net.JoinHostPort(strings.TrimSuffix(s.Target, "."), strconv.Itoa(int(s.Port)))})
		}
		err = cmp.Or(err, lookup)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("find a KDC of realm %q: %w", realm, cmp.Or(err, errNoRecord))
	}
	return list, nil
}

var (
	errNotNamed = errors.New("it names no KDC")
	errNoRecord = errors.New("DNS has no record of one")
)

func (r *relay) serve() {
	defer context.AfterFunc(r.ctx, func() { _ = r.listener.Close() })()
	for {
		conn, err := r.listener.Accept()
		if err != nil {
			return
		}
		r.work.Go(func() {
			defer func() { _ = conn.Close() }()
			defer context.AfterFunc(r.ctx, func() { _ = conn.Close() })()
			_ = conn.SetDeadline(time.Now().Add(2 * kdcTimeout)) // whoever else connects does not stay
			request, err := receive(conn)
			if err != nil {
				return
			}
			if answer, err := r.ask(request); err == nil {
				_ = send(conn, answer)
			}
		})
	}
}

// ask makes one try.
func (r *relay) ask(request []byte) ([]byte, error) {
	to, ok := r.next(request)
	if !ok {
		return nil, errors.New("not a request of the library")
	}
	answer, err := exchange(r.ctx, to, request)
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.err = err; err != nil {
		r.try++
		r.err = fmt.Errorf("ask the KDC at %q over %s: %w", to.address, to.network, err)
		return nil, err
	}
	r.try = 0
	return answer, r.follow(answer)
}

// next is the KDC this try goes to.
func (r *relay) next(request []byte) (to kdc, ok bool) {
	realm := realmOf(request)
	r.mu.Lock()
	defer r.mu.Unlock()
	list := slices.Clone(r.kdcs[realm])
	if len(list) == 0 {
		return to, false
	}
	if len(request) > r.limit { // for UDP
		slices.SortStableFunc(list, func(a, b kdc) int { return strings.Compare(a.network, b.network) })
	}
	return list[r.try%len(list)], true
}

// follow learns of the realm an answer refers the library to.
func (r *relay) follow(answer []byte) error {
	var rep messages.TGSRep
	if rep.Unmarshal(answer) != nil {
		return nil //nolint:nilerr // no ticket of that kind
	}
	name := rep.Ticket.SName.NameString
	if len(name) != 2 || name[0] != "krbtgt" {
		return nil
	}
	r.err = r.add(name[1])
	return r.err
}

// realmOf is the realm a request is for; "" when it is none.
func realmOf(request []byte) string {
	var as messages.ASReq
	if as.Unmarshal(request) == nil {
		return as.ReqBody.Realm
	}
	var tgs messages.TGSReq
	if tgs.Unmarshal(request) == nil {
		return tgs.ReqBody.Realm
	}
	return ""
}

// exchange sends request to one KDC and returns its answer.
func exchange(ctx context.Context, to kdc, request []byte) (answer []byte, err error) {
	ctx, cancel := context.WithTimeout(ctx, kdcTimeout)
	defer cancel()
	conn, err := new(net.Dialer).DialContext(ctx, to.network, to.address)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
	defer func() {
		if err != nil && ctx.Err() != nil {
			err = ctx.Err() // not that the connection is closed
		}
	}()
	if to.network == "udp" {
		if _, err := conn.Write(request); err != nil {
			return nil, err
		}
		answer = make([]byte, 1<<16)
		n, err := conn.Read(answer)
		if err != nil {
			return nil, err
		}
		answer = answer[:n]
	} else {
		if err := send(conn, request); err != nil {
			return nil, err
		}
		if answer, err = receive(conn); err != nil {
			return nil, err
		}
	}
	return answer, check(answer)
}

// check fails for what is no answer of a KDC, or asks for another try by TCP.
func check(answer []byte) error {
	const asRep, tgsRep, krbError = 0x6b, 0x6d, 0x7e // RFC 4120 5.10, as ASN.1 application tags
	switch {
	case len(answer) > 0 && (answer[0] == asRep || answer[0] == tgsRep):
		return nil
	case len(answer) > 0 && answer[0] == krbError:
		var e messages.KRBError
		if e.Unmarshal(answer) == nil && e.ErrorCode != errorcode.KRB_ERR_RESPONSE_TOO_BIG {
			return nil
		}
		return errors.New("the answer is too large for UDP")
	}
	return errors.New("the answer is not Kerberos")
}

// send writes a message as RFC 4120 7.2.2 has it for TCP.
func send(w io.Writer, message []byte) error {
	_, err := w.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(message))), message...)) //nolint:gosec // at most maxMessage
	return err
}

// receive reads one.
func receive(r io.Reader) ([]byte, error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint32(head[:])
	if size == 0 || size > maxMessage {
		return nil, fmt.Errorf("the answer has %d bytes", size)
	}
	message := make([]byte, size)
	_, err := io.ReadFull(r, message)
	return message, err
}
