package supervise

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"
)

// Allowed tells before anything is started that we may not run a program as u, or,
// supervised, not send it signals then. What only the kernel knows shows at the start.
func (u *User) Allowed(supervised bool) error {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData // 64 capabilities
	if err := unix.Capget(&header, &data[0]); err != nil {
		return nil //nolint:nilerr // then the start says it
	}
	needed := []struct {
		name string
		bit  uint
	}{{"CAP_SETUID", unix.CAP_SETUID}, {"CAP_SETGID", unix.CAP_SETGID}, {"CAP_KILL", unix.CAP_KILL}}
	if !supervised {
		needed = needed[:2]
	}
	var missing []string
	for _, c := range needed {
		if data[0].Effective&(1<<c.bit) == 0 {
			missing = append(missing, c.name)
		}
	}
	if len(missing) == 0 {
		return nil
	}
	return fmt.Errorf("running a program as %s needs root or capabilities we lack: %s", u, strings.Join(missing, ", "))
}
