package admin

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// name is the abstract socket of a process. Containers of a pod share the network
// namespace, where abstract sockets live, and each of them has a process 1: the pid
// namespace keeps them apart.
func name(pid int) string { return prefix() + strconv.Itoa(pid) }

func prefix() string {
	ns, err := os.Readlink("/proc/self/ns/pid")
	if err != nil {
		ns = "pid"
	}
	return "@envexec/" + ns + "/"
}

func listen(string) (net.Listener, error) { return net.Listen("unix", name(os.Getpid())) }

func dial(ctx context.Context, _ string, pid int) (net.Conn, error) {
	var d net.Dialer
	return d.DialContext(ctx, "unix", name(pid))
}

// running lists the processes whose socket is open, from unix(7)'s table.
func running(string) ([]int, error) {
	f, err := os.Open("/proc/net/unix")
	if err != nil {
		return nil, fmt.Errorf("look for a running envexec: %w (name one with --pid)", err)
	}
	defer f.Close()
	var pids []int
	for lines := bufio.NewScanner(f); lines.Scan(); {
		_, path, ok := strings.Cut(lines.Text(), prefix())
		if pid, err := strconv.Atoi(path); ok && err == nil && !slices.Contains(pids, pid) {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// allowed lets in the same user and root (SO_PEERCRED, unix(7)).
func allowed(conn net.Conn) error {
	raw, err := conn.(*net.UnixConn).SyscallConn()
	if err != nil {
		return err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) { cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED) }); err != nil {
		return err
	}
	if credErr != nil {
		return credErr
	}
	if cred.Uid != 0 && int(cred.Uid) != os.Geteuid() {
		return fmt.Errorf("user id %d may not ask", cred.Uid)
	}
	return nil
}
