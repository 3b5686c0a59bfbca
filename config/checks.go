package config

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/envexec/envexec/signals"
)

func oneOf(text string, allow ...string) error {
	return fmt.Errorf("%q is not one of %s", text, strings.Join(allow, ", "))
}

// orDefault replaces a zero or negative span, as Vault does.
func orDefault(d *time.Duration, def time.Duration) error {
	if *d <= 0 {
		*d = def
	}
	return nil
}

func checkPositive(text string) error {
	if strings.HasPrefix(text, "-") || text == "0" {
		return fmt.Errorf("%s is not positive", text)
	}
	return nil
}

func checkFraction(f float64) error {
	if f <= 0 || f > 1 {
		return fmt.Errorf("%v is no fraction between 0 and 1", f)
	}
	return nil
}

// checkSignal stores a signal's canonical name; "" and SIGNULL stand for none.
func checkSignal(to *string, text string) error {
	if text == "" || strings.EqualFold(text, "SIGNULL") {
		*to = ""
		return nil
	}
	sig, err := signals.Parse(text)
	if err != nil {
		var names []string
		for _, s := range signals.Forwarded() {
			names = append(names, signals.Name(s))
		}
		if hint := didYouMean(strings.TrimPrefix(strings.ToUpper(text), "SIG"), names); hint != "" {
			return fmt.Errorf("%w; %s", err, hint)
		}
		return err
	}
	*to = signals.Name(sig)
	return nil
}

// checkOwnSignal is checkSignal for a signal that envexec itself is to catch.
func checkOwnSignal(to *string, text string) error {
	if err := checkSignal(to, text); err != nil || *to == "" || onWindows {
		return err // on Windows checkSystem refuses every one, and says why
	}
	if sig, err := signals.Parse(*to); err != nil || !signals.CanForward(sig) {
		return fmt.Errorf("%s cannot be caught", *to)
	}
	return nil
}

// namespace is the canonical form: no leading, one trailing slash; root is "".
func namespace(s string) string {
	s = strings.Trim(s, "/")
	if s == "" || s == "root" {
		return ""
	}
	return s + "/"
}

// checkAddress wants a URL Vault can be at and writes IPv6 hosts in their one
// canonical form, so that equal addresses compare equal.
func checkAddress(to *string, text string) error {
	text = strings.TrimSpace(text)
	if text == "" {
		*to = defaultVault().Address
		return nil
	}
	u, err := url.Parse(text)
	if err != nil {
		if strings.Contains(text, "@") { // a password, perhaps
			return errors.New("is no URL")
		}
		return fmt.Errorf("%q is no URL: write https://… or unix://…", text)
	}
	switch {
	case u.Scheme == "unix":
		if u.Path == "" && u.Host == "" {
			return errors.New("unix:// needs a path")
		}
	case u.Scheme != "http" && u.Scheme != "https":
		return fmt.Errorf("%q must begin with https://, http:// or unix://", text)
	case u.Host == "":
		return fmt.Errorf("%q names no host", text)
	default:
		text = rehost(text, u.Host)
	}
	*to = text
	return nil
}

// rehost replaces host in a URL's text and leaves the rest as it was written.
func rehost(text, host string) string {
	return strings.Replace(text, host, normalHost(host), 1)
}

// normalHost writes an IP address, alone or with a port, in RFC 5952 form.
func normalHost(s string) string {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		host, port = strings.Trim(s, "[]"), ""
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return s
	}
	if port != "" {
		return net.JoinHostPort(ip.String(), port)
	}
	if strings.HasPrefix(s, "[") {
		return "[" + ip.String() + "]"
	}
	return ip.String()
}

// normalAddress does the same inside a host, host:port, URL or user@host.
func normalAddress(s string) string {
	if u, err := url.Parse(s); err == nil && u.Host != "" {
		return rehost(s, u.Host)
	}
	user, host, ok := strings.Cut(s, "@")
	if !ok {
		return normalHost(s)
	}
	return user + "@" + normalHost(host)
}

var policies = []string{"restart", "overlap", "signal", "hook", "exit", "none"}

// parseRule reads POLICY[:ARGUMENT]: signal:HUP, hook:/path/to/script, exit:3.
func parseRule(text string) (rule ChangeRule, code int, err error) {
	policy, arg, has := strings.Cut(text, ":")
	if !slices.Contains(policies, policy) {
		err = fmt.Errorf("%q is not one of %s", policy, strings.Join(policies, ", "))
		if h := nearest(policy, policies); h != "" {
			err = fmt.Errorf("%w; did you mean %q?", err, h)
		}
		return rule, 0, err
	}
	rule.Policy = policy
	switch policy {
	case "signal":
		if has {
			err = checkSignal(&rule.Signal, arg)
		}
	case "hook":
		if !has || strings.TrimSpace(arg) == "" {
			return rule, 0, errors.New("hook needs a command: hook:/path/to/script")
		}
		rule.Hook = strings.Fields(arg)
	case "exit":
		if has {
			err = assign(&code, arg)
		}
	default:
		if has {
			err = fmt.Errorf("%s takes nothing after a colon", policy)
		}
	}
	return rule, code, err
}

// parseReady reads notify, fd:N, exec:CMD, tcp:ADDR, http:URL, delay:D or none.
func parseReady(r *Ready, text string) error {
	kind, arg, _ := strings.Cut(text, ":")
	n := Ready{Type: kind, Timeout: r.Timeout, Header: r.Header}
	var err error
	switch kind {
	case "none", "notify":
		if arg != "" {
			err = fmt.Errorf("%s takes nothing after a colon", kind)
		}
	case "fd":
		err = assign(&n.FD, arg)
	case "exec":
		n.Command = strings.Fields(arg)
	case "tcp":
		n.Address = strings.TrimPrefix(arg, "//")
	case "http":
		n.Address = arg
		if strings.HasPrefix(arg, "//") { // http://host/ means itself
			n.Address = text
		}
	case "https":
		n.Type, n.Address = "http", text
	case "delay":
		n.Delay, err = parseDuration(arg)
	default:
		err = oneOf(text, readiness...)
	}
	if err != nil {
		return err
	}
	if err := checkReady(n); err != nil {
		return err
	}
	*r = n
	return nil
}

var readiness = []string{"none", "notify", "fd:N", "exec:CMD", "tcp:ADDR", "http:URL", "delay:D"}

func checkReady(r Ready) error {
	switch r.Type {
	case "fd":
		if r.FD < 3 {
			return fmt.Errorf("file descriptor %d: must be 3 or above", r.FD)
		}
	case "exec":
		if len(r.Command) == 0 {
			return errors.New("exec needs a command")
		}
	case "tcp":
		if err := hostPort(r.Address); err != nil {
			return err
		}
	case "http":
		if u, err := url.Parse(r.Address); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return fmt.Errorf("%q is no http URL", r.Address)
		}
	case "delay":
		if r.Delay <= 0 {
			return errors.New("delay needs a duration")
		}
	}
	return nil
}

// parseStatusPair reads FROM=TO of exit statuses.
func parseStatusPair(text string) (ExitPair, error) {
	from, to, ok := strings.Cut(text, "=")
	if !ok {
		to = "0" // tini's -e CODE
	}
	var p ExitPair
	if assign(&p.From, from) != nil || assign(&p.To, to) != nil || p.From < 0 || p.From > 255 || p.To < 0 || p.To > 255 {
		return p, fmt.Errorf("%q is not FROM=TO with statuses between 0 and 255", text)
	}
	return p, nil
}

// parseSignalPair reads FROM=TO of signals; TO 0 drops the signal.
func parseSignalPair(text string) (SignalPair, error) {
	from, to, ok := strings.Cut(text, "=")
	if !ok || from == "" {
		return SignalPair{}, fmt.Errorf("%q is not FROM=TO", text)
	}
	if _, err := signals.ParseMap(text); err != nil {
		return SignalPair{}, err
	}
	return SignalPair{From: from, To: to}, nil
}

func allow(words ...string) func(string) error {
	return func(text string) error {
		if slices.Contains(words, text) {
			return nil
		}
		err := oneOf(text, words...)
		if h := nearest(text, words); h != "" {
			return fmt.Errorf("%w; did you mean %q?", err, h)
		}
		return err
	}
}

// checkRate reads RATE[:BURST].
func checkRate(text string) error {
	rate, burst, has := strings.Cut(text, ":")
	var r float64
	var b int
	if assign(&r, rate) != nil || r <= 0 || has && (assign(&b, burst) != nil || b <= 0) {
		return fmt.Errorf("%q is not RATE or RATE:BURST", text)
	}
	return nil
}

// trimMount takes a mount's path as users write it.
func trimMount(to *string, text string) error {
	if *to = strings.Trim(text, "/"); *to == "" {
		return errors.New("empty path")
	}
	return nil
}
