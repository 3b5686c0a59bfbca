package vaulttest

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"time"

	"github.com/hashicorp/vault/api"
)

// Request is one request as Vault's audit log has it. Values are not in it.
type Request struct {
	Time      time.Time
	Operation string // read, list, update, create, delete
	Path      string // "secret/data/app", without /v1/
	Accessor  string // of the caller's token, HMACed; "" without one
	Error     string // why Vault refused it; "" if it did not
}

func (s *Server) auditPath() string { return filepath.Join(s.dir, "audit.log") }

// Mark returns the present end of the audit log, for AuditLog.
func (s *Server) Mark(t T) int64 {
	t.Helper()
	info, err := os.Stat(s.auditPath())
	if err != nil {
		t.Fatalf("read audit log: %v", err)
	}
	return info.Size()
}

// Auditing turns the audit device, on from the start, off or on again. Writing it
// costs the server more than answering a read does, so timings do without.
func (s *Server) Auditing(t T, on bool) {
	t.Helper()
	devices, err := s.client.Sys().ListAudit()
	if err != nil {
		t.Fatalf("list audit devices: %v", err)
	}
	switch _, is := devices["file/"]; {
	case on && !is:
		err = s.client.Sys().EnableAuditWithOptions("file", &api.EnableAuditOptions{
			Type: "file", Options: map[string]string{"file_path": s.auditPath()},
		})
	case is && !on:
		err = s.client.Sys().DisableAudit("file")
	}
	if err != nil {
		t.Fatalf("switch the audit device: %v", err)
	}
}

// AuditLog returns the requests Vault got after mark (0 = all), oldest first,
// those of this package included. Vault logs a request before it answers, so
// everything that has been answered is here.
func (s *Server) AuditLog(t T, mark int64) []Request {
	t.Helper()
	text, err := os.ReadFile(s.auditPath())
	if err != nil {
		t.Fatalf("read audit log: %v", err)
	}
	var requests []Request
	for line := range bytes.Lines(text[min(mark, int64(len(text))):]) {
		if !bytes.HasSuffix(line, []byte("\n")) {
			break // still being written
		}
		entry, err := parseAudit(line)
		if err != nil {
			t.Fatalf("read audit log: %v", err)
		}
		if entry != nil {
			requests = append(requests, *entry)
		}
	}
	return requests
}

// parseAudit returns nil for a line that is no answered request: Vault writes
// one line of type request and one of type response for each.
func parseAudit(line []byte) (*Request, error) {
	var entry struct {
		Time  time.Time `json:"time"`
		Type  string    `json:"type"`
		Error string    `json:"error"`
		Auth  struct {
			Accessor string `json:"accessor"`
		} `json:"auth"`
		Request struct {
			Operation string `json:"operation"`
			Path      string `json:"path"`
		} `json:"request"`
	}
	if err := json.Unmarshal(line, &entry); err != nil {
		return nil, err
	}
	if entry.Type != "response" {
		return nil, nil
	}
	return &Request{
		Time: entry.Time, Operation: entry.Request.Operation, Path: entry.Request.Path,
		Accessor: entry.Auth.Accessor, Error: entry.Error,
	}, nil
}
