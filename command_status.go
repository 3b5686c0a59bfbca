package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/envexec/envexec/internal/admin"
)

// report is what `envexec status` shows: phases, names, ages and errors, never a value.
type report struct {
	Phase      string         `json:"phase"` // of the supervisor: starting, ready, stopping, …; empty without a program
	Ready      bool           `json:"ready"` // everything was rendered and, if there is a program, it is ready
	PID        int            `json:"pid,omitempty"`
	Generation uint64         `json:"generation"` // of the secrets in use
	Login      string         `json:"login,omitempty"`
	Secrets    []secretReport `json:"secrets,omitempty"`
}

type secretReport struct {
	Secret   string  `json:"secret"`
	Schedule string  `json:"schedule,omitempty"` // in words
	Age      float64 `json:"age_seconds"`
	Next     float64 `json:"next_seconds"` // until it is read or renewed; negative = not planned
	EndsIn   float64 `json:"ends_seconds,omitempty"`
	Version  int     `json:"version,omitempty"`
	Error    string  `json:"error,omitempty"`
}

// callTimeout bounds `envexec status`: it is a health check.
const callTimeout = 5 * time.Second

// printStatus asks the running envexec and returns 0 when it is ready, 1 when it
// is not: a HEALTHCHECK.
func printStatus(ctx context.Context, stdout io.Writer, to admin.Target, format string) (int, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	raw, err := admin.Call(ctx, to, "status")
	if err != nil {
		return 0, err
	}
	var r report
	if err := json.Unmarshal(raw, &r); err != nil {
		return 0, fmt.Errorf("read the answer to status: %w", err)
	}
	if format == "json" {
		fmt.Fprintf(stdout, "%s\n", raw)
	} else {
		r.print(stdout)
	}
	if r.Ready {
		return 0, nil
	}
	return 1, nil
}

func (r report) print(stdout io.Writer) {
	w := tabwriter.NewWriter(stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "phase\t%s\n", r.Phase)
	if r.PID != 0 {
		fmt.Fprintf(w, "program\tpid %d\n", r.PID)
	}
	fmt.Fprintf(w, "generation\t%d\n", r.Generation)
	if r.Login != "" {
		fmt.Fprintf(w, "login\t%s\n", r.Login)
	}
	_ = w.Flush()
	if len(r.Secrets) == 0 {
		return
	}
	fmt.Fprintln(w, "\nSECRET\tSCHEDULE\tAGE\tNEXT\tENDS\tERROR")
	for _, s := range r.Secrets {
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\n", s.Secret, s.Schedule, span(s.Age), span(s.Next), span(s.EndsIn), s.Error)
	}
	_ = w.Flush()
}

// span shows seconds as a duration, or a dash when there is none.
func span(seconds float64) string {
	if seconds <= 0 {
		return "-"
	}
	return time.Duration(seconds * float64(time.Second)).Round(time.Second).String()
}
