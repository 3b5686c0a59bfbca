package vaulttest

import (
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/vault/api"
)

// Cluster is three Vaults on loopback that share one raft storage.
type Cluster struct {
	Nodes     []*Server
	RootToken string
}

// StartCluster starts three nodes; the first is the leader at first. Each has KV
// version 2 at secret/. They end with t.
func StartCluster(t T) *Cluster {
	t.Helper()
	binary, err := Binary()
	if err != nil {
		Missing(t, PartVault, err.Error())
	}
	c := &Cluster{}
	base := t.TempDir()
	for i := range 3 {
		s := &Server{binary: binary, dir: filepath.Join(base, fmt.Sprint("node", i))}
		s.options.durable, s.options.node = true, fmt.Sprint("node", i)
		if i > 0 {
			s.options.join, s.unseal, s.RootToken = c.Nodes[0].Addr, c.Nodes[0].unseal, c.Nodes[0].RootToken
		}
		if err := os.MkdirAll(s.dir, 0o700); err != nil {
			t.Fatalf("start cluster: %v", err)
		}
		t.Cleanup(func() { s.halt() })
		if err := s.first(); err != nil {
			t.Fatalf("start node %d: %v\n%s", i, err, s.log())
		}
		c.Nodes = append(c.Nodes, s)
		if i == 0 {
			if err := s.furnish(); err != nil {
				t.Fatalf("set up vault: %v", err)
			}
			// A joined node has a vote only once it has been steady for so long.
			s.Write(t, "sys/storage/raft/autopilot/configuration", map[string]any{"server_stabilization_time": "1s"})
		}
	}
	c.RootToken = c.Nodes[0].RootToken
	c.awaitVotes(t)
	return c
}

// awaitVotes waits until every node has a vote: without, the leader's end is the cluster's.
func (c *Cluster) awaitVotes(t T) {
	t.Helper()
	for end := time.Now().Add(startLimit); time.Now().Before(end); time.Sleep(5 * pollEvery) {
		answer := c.Nodes[0].Read(t, "sys/storage/raft/configuration")
		config, _ := answer.Data["config"].(map[string]any)
		servers, _ := config["servers"].([]any)
		votes := 0
		for _, s := range servers {
			if server, _ := s.(map[string]any); server["voter"] == true {
				votes++
			}
		}
		if votes == len(c.Nodes) {
			return
		}
	}
	t.Fatalf("not every node had a vote within %s", startLimit)
}

// Leader returns the active node, waiting for one.
func (c *Cluster) Leader(t T) *Server {
	t.Helper()
	for end := time.Now().Add(startLimit); time.Now().Before(end); time.Sleep(pollEvery) {
		for _, n := range c.Nodes {
			if n.process.gone() {
				continue
			}
			if health, err := n.client.Sys().Health(); err == nil && health.Initialized && !health.Sealed && !health.Standby {
				return n
			}
		}
	}
	t.Fatalf("no node became the leader within %s", startLimit)
	return nil
}

// Kill ends a node without warning.
func (s *Server) Kill(t T) {
	t.Helper()
	if err := s.process.cmd.Process.Kill(); err != nil {
		t.Fatalf("kill vault: %v", err)
	}
	<-s.process.done
}

// standby waits until a joined node has unsealed and follows its leader.
func (s *Server) standby() error {
	last := error(nil)
	for end := time.Now().Add(startLimit); time.Now().Before(end); time.Sleep(5 * pollEvery) {
		if s.process.gone() {
			return fmt.Errorf("vault ended: %w", s.process.err)
		}
		var health *api.HealthResponse
		if health, last = s.client.Sys().Health(); last != nil {
			continue
		}
		switch {
		case health.Sealed:
			_, last = s.client.Sys().Unseal(s.unseal)
		case health.Initialized:
			return nil
		}
	}
	return fmt.Errorf("vault no standby within %s: %w", startLimit, last)
}
