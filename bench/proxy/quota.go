package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// A sidecar's share of the processor: what Vault's Kubernetes injector asks for its
// agent, in microseconds of each period, which is the kubelet's.
const (
	sidecarQuota  = 25000
	sidecarPeriod = 100000
)

// group is a control group whose processes together get a sidecar's processor time.
type group struct{ dir string }

// newGroup makes one under this machine's root group, by version 2 of the control
// groups or version 1.
func newGroup(name string) (*group, error) {
	name = fmt.Sprintf("bench-proxy-%d-%s", os.Getpid(), name)
	root, limits := "/sys/fs/cgroup", map[string]string{"cpu.max": fmt.Sprintf("%d %d", sidecarQuota, sidecarPeriod)}
	if _, err := os.Stat(filepath.Join(root, "cgroup.controllers")); err != nil {
		root = filepath.Join(root, "cpu")
		limits = map[string]string{"cpu.cfs_period_us": fmt.Sprint(sidecarPeriod), "cpu.cfs_quota_us": fmt.Sprint(sidecarQuota)}
	} else if err := enable(filepath.Join(root, "cgroup.subtree_control")); err != nil {
		return nil, needsRoot(err)
	}
	g := &group{filepath.Join(root, name)}
	if err := os.Mkdir(g.dir, 0o755); err != nil { //nolint:gosec // a control group
		return nil, needsRoot(err)
	}
	for file, limit := range limits {
		if err := os.WriteFile(filepath.Join(g.dir, file), []byte(limit), 0o644); err != nil { //nolint:gosec // a control group
			g.remove()
			return nil, needsRoot(err)
		}
	}
	return g, nil
}

func needsRoot(err error) error {
	return fmt.Errorf("limit a proxy's processor time as a sidecar's: %w; run this as root, with /sys/fs/cgroup writable", err)
}

// enable hands the processor controller down to the groups below, unless that is done.
func enable(control string) error {
	on, err := os.ReadFile(control)
	if err != nil || strings.Contains(" "+strings.TrimSpace(string(on))+" ", " cpu ") {
		return err
	}
	return os.WriteFile(control, []byte("+cpu"), 0o644) //nolint:gosec // a control group
}

// in is the prefix of a command that is to run in the group.
func (g *group) in() []string {
	return []string{"sh", "-c", `echo $$ >"$0" && exec "$@"`, filepath.Join(g.dir, "cgroup.procs")}
}

// remove takes the group away once its processes have ended.
func (g *group) remove() {
	if err := os.Remove(g.dir); err != nil && !errors.Is(err, os.ErrNotExist) {
		fmt.Fprintln(os.Stderr, err)
	}
}
