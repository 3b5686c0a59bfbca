package shared

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
)

const (
	eventPath   = "/v1/sys/events/subscribe/kv*"
	pingEvery   = 20 * time.Second
	silentLimit = 65 * time.Second // no frame for so long: the stream is dead
	noEvents    = 10 * time.Minute // before a server that has none is asked again
)

var errNoEvents = errors.New("the server has no event stream")

// follow keeps the event stream open until ctx ends. While it is open, and only for
// what was read after it was opened, MaxAgeEvents replaces MaxAge.
func (c *Cache) follow(ctx context.Context) {
	for fails := 1; ; fails++ {
		opened, err := c.listen(ctx)
		c.events.Store(0)
		if ctx.Err() != nil {
			return
		}
		if opened {
			fails = 1
		}
		wait := c.backoff.Wait(fails, 0, 0)
		if errors.Is(err, errNoEvents) {
			wait = noEvents
			c.log.Info("the server tells of no changes: cached secrets are read again instead", "max_age", c.cfg.MaxAge)
		} else {
			c.log.Warn("event stream ended, will be opened again", "error", err, "wait", wait)
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return
		}
	}
}

// listen opens the stream and reads it until it breaks.
func (c *Cache) listen(ctx context.Context) (opened bool, err error) {
	token, err := c.cfg.Events(ctx)
	if err != nil {
		return false, err
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, eventPath+"?json=true&namespaces=*", nil)
	if err != nil {
		return false, err
	}
	for name, value := range map[string]string{
		"X-Vault-Token": token.ID.Reveal(), "X-Vault-Namespace": token.Namespace, "X-Vault-Request": "true",
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-Websocket-Version": "13", "Sec-Websocket-Key": socketKey(),
	} {
		if value != "" {
			r.Header.Set(name, value)
		}
	}
	resp, err := c.cfg.Do(r)
	if err != nil {
		return false, errors.New("vault did not answer")
	}
	defer resp.Body.Close()
	stream, ok := resp.Body.(io.ReadWriter)
	switch {
	case resp.StatusCode == http.StatusNotFound:
		return false, errNoEvents
	case resp.StatusCode != http.StatusSwitchingProtocols || !ok:
		return false, errors.New("the event stream was refused: " + resp.Status)
	}
	c.log.Info("the server tells of changes")
	return true, c.attend(ctx, &socket{r: bufio.NewReader(stream), w: stream}, func() { _ = resp.Body.Close() })
}

// attend handles events until the stream breaks, is silent or ctx ends.
func (c *Cache) attend(ctx context.Context, s *socket, closeStream func()) error {
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
	c.events.Store(int64(c.cfg.clock()))
	for {
		message, err := s.read(func() { watch.Reset(silentLimit) })
		if err != nil {
			return err
		}
		if err := c.event(message); err != nil {
			return err
		}
	}
}

// event drops the secret an event is about.
func (c *Cache) event(message []byte) error {
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
		return errSocket
	}
	if modified, told := e.Data.Event.Metadata["modified"]; told && modified != "true" && modified != true {
		return nil
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, name := range []string{"path", "data_path"} {
		path, _ := e.Data.Event.Metadata[name].(string)
		if path = strings.Trim(path, "/"); path == "" {
			continue
		}
		// Older servers give the path below the mount.
		for _, full := range []string{path, strings.Trim(e.Data.Plugin.Mount, "/") + "/" + path} {
			full = join(strings.Trim(e.Data.Namespace, "/"), full)
			c.marks.write(full)
			for _, g := range groups(full) {
				for v := range c.groups[g] {
					c.removeValue(v)
				}
			}
		}
	}
	return nil
}
