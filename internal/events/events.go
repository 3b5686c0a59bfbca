// Package events is the client's side of Vault's event stream: it tells of changed KV
// secrets as they happen. Servers without one answer 404; those that have one may lose
// events, and send none about paths the token may not subscribe to.
package events

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/envexec/envexec/secret"
)

const (
	path        = "/v1/sys/events/subscribe/kv*?json=true&namespaces=*"
	pingEvery   = 20 * time.Second
	silentLimit = 65 * time.Second // no frame for so long: the stream is dead
)

// ErrNone says that the server has no event stream.
var ErrNone = errors.New("the server has no event stream")

// ErrRefused says that the token has no right to the event stream.
var ErrRefused = errors.New("the event stream was refused: the token's policies do not allow it")

// Change is one changed KV secret.
type Change struct {
	Namespace string
	// Paths are the ways it may have been asked for, with the mount and without, with
	// data/ and without.
	Paths []string
}

// Listen opens the stream with a token and calls changed for every change until it
// breaks, is silent for over a minute, or ctx ends. do sends a request whose URL is a
// path only. opened is called once the server tells of changes; what was read before
// may have changed unheard. ErrNone, ErrRefused, or why it ended, comes back.
func Listen(ctx context.Context, do func(*http.Request) (*http.Response, error), t secret.Token, opened func(), changed func(Change)) error {
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, path, nil)
	if err != nil {
		return err
	}
	for name, value := range map[string]string{
		"X-Vault-Token": t.ID.Reveal(), "X-Vault-Namespace": t.Namespace, "X-Vault-Request": "true",
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-Websocket-Version": "13", "Sec-Websocket-Key": socketKey(),
	} {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	resp, err := do(r)
	if err != nil {
		return errors.New("vault did not answer")
	}
	defer resp.Body.Close()
	stream, ok := resp.Body.(io.ReadWriter)
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return ErrNone
	case resp.StatusCode == http.StatusForbidden:
		return ErrRefused
	case resp.StatusCode != http.StatusSwitchingProtocols || !ok:
		return errors.New("the event stream was refused: " + resp.Status)
	}
	opened()
	return attend(ctx, &socket{r: bufio.NewReader(stream), w: stream}, func() { _ = resp.Body.Close() }, changed)
}

// attend handles events until the stream breaks, is silent or ctx ends.
func attend(ctx context.Context, s *socket, closeStream func(), changed func(Change)) error {
	defer context.AfterFunc(ctx, closeStream)()
	watch := time.AfterFunc(silentLimit, closeStream)
	defer watch.Stop()
	ping := time.NewTicker(pingEvery)
	defer ping.Stop()
	ended := make(chan struct{})
	var pinging sync.WaitGroup
	pinging.Go(func() {
		for {
			select {
			case <-ping.C:
				_ = s.control(opPing, nil) // a failure shows in reading
			case <-ended:
				return
			}
		}
	})
	defer pinging.Wait()
	defer close(ended)
	for {
		message, err := s.read(func() { watch.Reset(silentLimit) })
		if err != nil {
			return err
		}
		c, told, err := parse(message)
		if err != nil {
			return err
		}
		if told {
			changed(c)
		}
	}
}

// parse reads one message; told is false when it changed nothing.
func parse(message []byte) (c Change, told bool, err error) {
	var e struct {
		Data struct {
			Event struct {
				Metadata map[string]any `json:"metadata"`
			} `json:"event"`
			Namespace string `json:"namespace"`
			Plugin    struct {
				Mount string `json:"mount_path"`
			} `json:"plugin_info"`
		} `json:"data"`
	}
	if err := json.Unmarshal(message, &e); err != nil {
		return c, false, errSocket
	}
	if modified, told := e.Data.Event.Metadata["modified"]; told && modified != "true" && modified != true {
		return c, false, nil
	}
	c.Namespace = strings.Trim(e.Data.Namespace, "/")
	for _, name := range []string{"path", "data_path"} {
		p, _ := e.Data.Event.Metadata[name].(string)
		if p = strings.Trim(p, "/"); p == "" {
			continue
		}
		c.Paths = append(c.Paths, p)
		mount := strings.Trim(e.Data.Plugin.Mount, "/") + "/"
		if !strings.HasPrefix(p, mount) {
			p = mount + p
			c.Paths = append(c.Paths, p)
		}
		if short, ok := strings.CutPrefix(p, mount+"data/"); ok {
			c.Paths = append(c.Paths, mount+short)
		}
	}
	return c, len(c.Paths) > 0, nil
}
