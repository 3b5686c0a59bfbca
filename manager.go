package main

import "log/slog"

// manager is a service manager that wants to be told things; nil where there is none.
// (What systemd wants to know, supervise tells it.)
type manager struct {
	ready  func()          // the program, or the agent without one, is ready; called at each start
	failed func(err error) // envexec itself is why it ends
	events slog.Handler    // the system's log
}

func (m *manager) tellReady() {
	if m != nil {
		m.ready()
	}
}

func (m *manager) tellFailed(err error) {
	if m != nil {
		m.failed(err)
	}
}
