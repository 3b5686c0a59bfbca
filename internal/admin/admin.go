// Package admin is the status socket: how `envexec status` and `envexec reload`
// reach a running envexec on the same machine. It is local by construction: on
// Linux an abstract socket that answers only the same user and root, elsewhere a
// socket file of mode 0600 in the user's runtime directory.
//
// The protocol is one line to ask ("status" or "reload") and one JSON object back.
package admin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"sync"
	"time"
)

// Config says what the socket answers.
type Config struct {
	// Dir is the runtime directory where there are no abstract sockets; it must exist.
	Dir string
	// Path is a socket file instead, mode 0600; "" = as the system has it.
	Path string
	// Status returns what `envexec status` shows; called from several goroutines.
	Status func() any
	// Reload reads the configuration anew and returns when that has worked or failed; nil = not possible.
	Reload func(context.Context) error
	// StatusOf is the exit status for whoever asked for a reload that failed so; needed with Reload.
	StatusOf func(error) int
	Logger   *slog.Logger
}

// Server answers on the status socket.
type Server struct {
	cfg Config
	ln  net.Listener
}

// patience bounds one exchange of a client that says or reads nothing.
const patience = 5 * time.Second

// reloadPatience bounds how long a client waits for a reload to be carried out.
const reloadPatience = time.Minute

// New opens the socket of this process. The caller runs Run, which closes it.
func New(cfg Config) (*Server, error) {
	open := func() (net.Listener, error) { return listen(cfg.Dir) }
	if cfg.Path != "" {
		open = func() (net.Listener, error) { return listenAt(cfg.Path) }
	}
	ln, err := open()
	if err != nil {
		return nil, fmt.Errorf("open status socket: %w", err)
	}
	return &Server{cfg: cfg, ln: ln}, nil
}

// Run answers until ctx ends, then closes the socket and waits for open exchanges.
func (s *Server) Run(ctx context.Context) error {
	var open sync.WaitGroup
	stop := context.AfterFunc(ctx, func() { _ = s.ln.Close() })
	defer func() {
		stop()
		_ = s.ln.Close()
		open.Wait()
	}()
	for {
		conn, err := s.ln.Accept()
		if err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("accept on status socket: %w", err)
		}
		open.Go(func() {
			defer conn.Close()
			defer context.AfterFunc(ctx, func() { _ = conn.Close() })()
			s.answer(ctx, conn)
		})
	}
}

type reply struct {
	Error  string `json:"error,omitempty"`
	Status int    `json:"status,omitempty"`
	Result any    `json:"result,omitempty"`
}

func (s *Server) answer(ctx context.Context, conn net.Conn) {
	_ = conn.SetDeadline(time.Now().Add(patience))
	if err := allowed(conn); err != nil {
		s.cfg.Logger.Warn("refused a client of the status socket", "error", err)
		return
	}
	line, _, err := bufio.NewReaderSize(conn, 64).ReadLine()
	if err != nil {
		return
	}
	var out reply
	switch verb := string(line); {
	case verb == "status":
		out.Result = s.cfg.Status()
	case verb == "reload" && s.cfg.Reload != nil:
		_ = conn.SetDeadline(time.Now().Add(reloadPatience))
		if err := s.cfg.Reload(ctx); err != nil {
			out.Error, out.Status = err.Error(), s.cfg.StatusOf(err)
		}
	default:
		out.Error = fmt.Sprintf("this envexec does not understand %q", verb)
	}
	_ = json.NewEncoder(conn).Encode(out)
}

// RefusedError says why the running envexec did not do what it was asked.
type RefusedError struct {
	Message string
	Status  int // the exit status for whoever asked
}

// Error is the message.
func (e *RefusedError) Error() string { return e.Message }

// ErrNone says that no envexec of this user is running here.
var ErrNone = errors.New("no running envexec found")

// listenAt opens a socket file, in place of one that nobody answers on any more.
func listenAt(path string) (net.Listener, error) {
	if conn, err := connect(context.Background(), path); err == nil {
		_ = conn.Close()
		return nil, fmt.Errorf("%s: another process answers there", path)
	}
	if bound(path) {
		_ = os.Remove(path)
	}
	return bind(path)
}

// Target says which envexec is asked.
type Target struct {
	Dir  string // as in Config
	Path string // as in Config; it goes before PID
	PID  int    // 0 = the only one that runs here
}

// Call asks an envexec and returns its answer. Errors wrap ErrNone when there is nobody to ask.
func Call(ctx context.Context, to Target, verb string) (json.RawMessage, error) {
	conn, err := to.dial(ctx)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(reloadPatience + patience))
	if _, err := fmt.Fprintln(conn, verb); err != nil {
		return nil, fmt.Errorf("ask the running envexec: %w", err)
	}
	var in struct {
		Error  string          `json:"error"`
		Status int             `json:"status"`
		Result json.RawMessage `json:"result"`
	}
	err = json.NewDecoder(conn).Decode(&in)
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return nil, fmt.Errorf("the running envexec has not finished within %s: envexec status and its log tell how it ends", reloadPatience+patience)
	}
	if err != nil {
		return nil, fmt.Errorf("read the answer of the running envexec (another user's?): %w", err)
	}
	if in.Status != 0 {
		return nil, &RefusedError{in.Error, in.Status}
	}
	if in.Error != "" {
		return nil, errors.New(in.Error)
	}
	return in.Result, nil
}

func (to Target) dial(ctx context.Context) (net.Conn, error) {
	if to.Path != "" {
		conn, err := connect(ctx, to.Path)
		if err != nil {
			return nil, fmt.Errorf("%w at %s: %w", ErrNone, to.Path, err)
		}
		return conn, nil
	}
	pid := to.PID
	if pid == 0 {
		pids, err := running(to.Dir)
		if err != nil {
			return nil, err
		}
		switch len(pids) {
		case 0:
			return nil, ErrNone
		case 1:
			pid = pids[0]
		default:
			return nil, fmt.Errorf("several envexec run here: choose one of the process ids %v with --pid", pids)
		}
	}
	conn, err := dial(ctx, to.Dir, pid)
	if err != nil {
		return nil, fmt.Errorf("%w with process id %d: %w", ErrNone, pid, err)
	}
	return conn, nil
}
