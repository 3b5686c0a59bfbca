package main

import (
	"context"
	"sync"

	"github.com/envexec/envexec/internal/admin"
	"github.com/envexec/envexec/supervise"
)

// state is what the status socket tells, kept up to date by the supervisor's trace.
type state struct {
	mu         sync.Mutex
	phase      string
	pid        int
	generation uint64
	ready      bool
}

func (s *state) change(f func(*state)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f(s)
}

// watch returns the trace that keeps the state.
func (j *job) watch() supervise.Trace {
	return supervise.Trace{
		State:   func(name string) { j.state.change(func(s *state) { s.phase = name }) },
		Started: func(int, uint64) { j.started() },
		Ready: func(pid int, generation uint64) {
			j.state.change(func(s *state) { s.pid, s.generation, s.ready = pid, generation, true })
			j.manager.tellReady()
		},
		Rotated: func(generation uint64, _ supervise.Policy, err error) {
			if err == nil {
				j.state.change(func(s *state) { s.generation = generation })
			}
		},
		Exited: func(pid int, _ uint64, _ supervise.Status) {
			j.state.change(func(s *state) {
				if s.pid == pid {
					s.pid, s.ready = 0, false
				}
			})
		},
	}
}

// report is the answer to `envexec status`.
func (j *job) report() any {
	j.state.mu.Lock()
	r := report{Phase: j.state.phase, Ready: j.state.ready, PID: j.state.pid, Generation: j.state.generation}
	j.state.mu.Unlock()
	v := j.side()
	if v == nil {
		return r
	}
	r.Login = v.login()
	if v.store == nil {
		return r
	}
	for _, e := range v.secretStates() {
		r.Secrets = append(r.Secrets, secretReport{
			Secret: e.Request, Schedule: e.Schedule, Age: e.Age.Seconds(), Next: e.NextIn.Seconds(), EndsIn: e.EndsIn.Seconds(),
			Version: e.Version, Error: e.Error,
		})
	}
	return r
}

// serveStatus opens the status socket unless --admin off. It is never worth the
// program's life, nor a moment of its start.
func (j *job) serveStatus(s *services) {
	if j.cfg.Admin == "off" {
		return
	}
	s.start("status socket", func(ctx context.Context) error {
		socket, err := admin.New(admin.Config{
			Dir: runtimeDir(j.env), Path: j.cfg.AdminPath(), Status: j.report, Reload: j.reload, StatusOf: refusal, Logger: j.log,
		})
		if err == nil {
			err = socket.Run(ctx)
		}
		if err != nil {
			j.log.Warn("envexec status does not work", "error", err)
		}
		return nil
	})
}
