package supervise

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"strconv"
	"time"
)

// watchReady waits for the program's proof of readiness; evReady follows. The
// proof by notify comes another way.
func (s *Supervisor) watchReady(r *running) {
	still := s.still()
	switch s.cfg.Ready.Kind {
	case ReadyFD:
		pipe := r.readyPipe
		s.spawn(func() {
			if readNewline(r.ctx, pipe) {
				s.proved(r)
			}
		})
	case ReadyExec, ReadyTCP, ReadyHTTP:
		s.spawn(func() { still.probe(r) })
	case ReadyDelay:
		s.spawn(func() {
			if pause(r.ctx, still.cfg.Ready.Delay) {
				s.proved(r)
			}
		})
	case ReadyNone, ReadyNotify:
	}
}

func (s *Supervisor) proved(r *running) {
	s.post(news{event: event{kind: evReady, child: r.child}})
}

// readNewline is the notification-fd protocol: everything up to the newline is ignored.
func readNewline(ctx context.Context, pipe *os.File) bool {
	stop := context.AfterFunc(ctx, func() { _ = pipe.SetReadDeadline(time.Unix(1, 0)) })
	defer stop()
	defer func() { _ = pipe.Close() }()
	_, err := bufio.NewReader(pipe).ReadString('\n')
	return err == nil
}

func (s *Supervisor) probe(r *running) {
	for {
		err := s.probeOnce(r)
		if r.ctx.Err() != nil {
			return
		}
		if err == nil {
			s.proved(r)
			return
		}
		s.log.Debug("program not ready yet", "generation", r.generation, "error", err.Error())
		if !pause(r.ctx, s.cfg.Ready.Every) {
			return
		}
	}
}

// probePatience bounds one probe.
const probePatience = 5 * time.Second

func (s *Supervisor) probeOnce(r *running) error {
	ctx, cancel := context.WithTimeout(r.ctx, probePatience)
	defer cancel()
	switch s.cfg.Ready.Kind {
	case ReadyExec:
		sp := s.besides(r, s.cfg.Ready.Command)
		var err error
		if sp.path, err = findProgram(sp.argv[0], s.cfg.Path, s.dir); err != nil {
			return err
		}
		sp.env = append(sp.env, "ENVEXEC_PID="+strconv.Itoa(r.pid))
		return runCommand(ctx, s.cfg.host, sp)
	case ReadyTCP:
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", s.cfg.Ready.Address)
		if err != nil {
			return err
		}
		return conn.Close()
	default:
		return s.probeHTTP(ctx, r)
	}
}

func (s *Supervisor) probeHTTP(ctx context.Context, r *running) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, s.cfg.Ready.Address, nil)
	if err != nil {
		return err
	}
	// A kept connection would go on asking the same program.
	transport := &http.Transport{DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode/100 != 2 {
		return fmt.Errorf("the answer is %s", resp.Status)
	}
	if h := s.cfg.Ready.Header; h != "" && resp.Header.Get(h) != strconv.FormatUint(r.child, 10) {
		return fmt.Errorf("the answer does not come from start %d", r.child)
	}
	return nil
}

// pause waits for d; false if ctx ended first.
func pause(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
