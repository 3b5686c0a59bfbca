//go:build unix

package supervise

import (
	"context"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// How often leftovers are looked at, and how long they get where they cannot be seen.
const (
	lookEvery = 20 * time.Millisecond
	blindWait = 100 * time.Millisecond
	killWait  = time.Second
)

// clean ends what the program left in its group, and its orphans if nothing
// else runs: by TERM and after grace by KILL, without grace by KILL at once. The ended program itself still holds the group's id.
func (p *unixProcess) clean(ctx context.Context, grace time.Duration, all bool) {
	if grace > 0 {
		if !p.tell(unix.SIGTERM, all) {
			return
		}
		_ = unix.Kill(-p.id, unix.SIGCONT)
		if !seesGroups() {
			grace = min(grace, blindWait)
		}
		if p.emptied(ctx, grace, all, 0) {
			return
		}
	}
	p.tell(unix.SIGKILL, all)
	p.emptied(ctx, killWait, all, unix.SIGKILL)
}

// tell signals all that is left and reports whether there was, or may have been, anything.
func (p *unixProcess) tell(sig syscall.Signal, all bool) bool {
	left := p.left() != 0
	if left {
		_ = unix.Kill(-p.id, sig)
	}
	if all && p.host.signalOrphans(sig) > 0 {
		left = true
	}
	return left
}

// emptied waits until nothing is left. New orphans turn up as their parents end: they get again too.
func (p *unixProcess) emptied(ctx context.Context, limit time.Duration, all bool, again syscall.Signal) bool {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return false
		case <-timer.C:
			return false
		case <-tick.C:
			if (!all || p.host.signalOrphans(again) == 0) && p.left() == 0 {
				return true
			}
		}
	}
}

// left is groupSize of the ended program's group. Where orphans come to us there is
// none without an orphan: as a rule that spares a look at every process of the system.
func (p *unixProcess) left() int {
	if pids, known := orphans(); p.host.adopts && known && len(pids) == 0 {
		return 0
	}
	return groupSize(p.id)
}
