//go:build unix

package supervise

import (
	"encoding/binary"
	"os"
	"os/signal"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/envexec/envexec/internal/early"
)

// stageName is the argv[0] under which we run as the stage between fork and the
// program: LISTEN_PID has to hold the program's own id, and the environment is
// fixed before a fork.
const stageName = "envexec: passing sockets"

// The stage runs before main: the sooner it is gone, the less it costs.
func init() { //nolint:gochecknoinits // see above
	if len(os.Args) > stageArgs && os.Args[0] == stageName {
		runStage(os.Args[1:])
	}
}

// stageArgs is the number of arguments before the program's own: name, descriptor, path.
const stageArgs = 3

// runStage becomes the program: args are the error descriptor, the path and the
// program's arguments. End of file on the descriptor means that it worked, four
// bytes are the errno.
func runStage(args []string) {
	fd, err := strconv.Atoi(args[0])
	if err != nil {
		os.Exit(stageFailed)
	}
	unix.CloseOnExec(fd)
	if sig := (*Signals)(nil).last(); sig != 0 {
		Reraise(sig)
		os.Exit(128 + int(sig))
	}
	env := append(os.Environ(), "LISTEN_PID="+strconv.Itoa(os.Getpid()))
	err = syscall.Exec(args[1], args[2:], env)
	errno, ok := err.(syscall.Errno) //nolint:errorlint // Exec returns nothing else
	if !ok {
		errno = syscall.EINVAL
	}
	_, _ = unix.Write(fd, binary.NativeEndian.AppendUint32(nil, uint32(errno)))
	os.Exit(stageFailed)
}

// last returns a signal that asked us to stop and that nobody has taken, for a
// process about to become the program: 0 = none. What comes later meets the program
// as it would without us.
func (s *Signals) last() syscall.Signal {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGQUIT} {
		if !signal.Ignored(sig) {
			defaultAction(sig)
		}
	}
	early.Stop()
	if s != nil {
		answer := make(chan syscall.Signal, 1)
		s.untaken <- answer
		return <-answer
	}
	select {
	case sig := <-early.Caught:
		n, _ := sig.(syscall.Signal)
		return n
	default:
		return 0
	}
}

// stageFailed is never seen by anybody: the errno is.
const stageFailed = 126

// selfPaths are where our own program file may be reached, best first.
func selfPaths() []string {
	paths := []string{"/proc/self/exe"}
	if p, err := os.Executable(); err == nil {
		paths = append(paths, p)
	}
	return paths
}

// startStaged starts s by way of the stage.
func (h *unixHost) startStaged(s spec) (int, error) {
	var pipe [2]int
	if err := unix.Pipe(pipe[:]); err != nil {
		return 0, err
	}
	r, w := pipe[0], pipe[1]
	unix.CloseOnExec(r)
	unix.CloseOnExec(w)
	defer func() { _ = unix.Close(r) }()
	staged := s
	staged.argv = append([]string{stageName, strconv.Itoa(len(s.files)), s.path}, s.argv...)
	staged.files = append(s.files[:len(s.files):len(s.files)], uintptr(w))
	var (
		pid int
		err error
	)
	for _, path := range selfPaths() {
		staged.path = path
		if pid, err = h.forkOn(staged); err != unix.ENOENT { //nolint:errorlint // a bare errno
			break
		}
	}
	_ = unix.Close(w)
	if err != nil {
		return 0, err
	}
	var word [4]byte
	for {
		n, rerr := unix.Read(r, word[:])
		if rerr == unix.EINTR { //nolint:errorlint // a bare errno
			continue
		}
		if n == len(word) {
			(&unixProcess{id: pid}).reap()
			return 0, syscall.Errno(binary.NativeEndian.Uint32(word[:]))
		}
		return pid, nil
	}
}
