package main

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"

	"golang.org/x/sys/windows/svc/eventlog"
)

// The numbers of our events. EventCreate.exe, whose messages they use, has 1 to 1000.
const (
	eventRunning = 1
	eventStopped = 2
	eventEnded   = 3 // the program, by itself, with a failure
	eventFailed  = 4 // envexec itself
	eventWarning = 10
	eventError   = 11
)

// eventLog writes to the Windows event log: a service's start and end, and of its log
// all warnings and errors. It is a slog.Handler.
type eventLog struct {
	slog.Handler // formats into text
	text         *bytes.Buffer
	source       eventSource
	lock         chan struct{} // one writer at a time; a mutex that may be copied
}

// eventSource is an *eventlog.Log.
type eventSource interface {
	Info(id uint32, message string) error
	Warning(id uint32, message string) error
	Error(id uint32, message string) error
	Close() error
}

type noEvents struct{}

func (noEvents) Info(uint32, string) error    { return nil }
func (noEvents) Warning(uint32, string) error { return nil }
func (noEvents) Error(uint32, string) error   { return nil }
func (noEvents) Close() error                 { return nil }

// openEvents opens the log of a service. Without one it is silent: a service is worth
// more than its log.
func openEvents(name string) eventLog {
	source, err := eventlog.Open(name)
	if err != nil {
		return newEventLog(noEvents{})
	}
	return newEventLog(source)
}

func newEventLog(source eventSource) eventLog {
	text := new(bytes.Buffer)
	return eventLog{
		Handler: slog.NewTextHandler(text, &slog.HandlerOptions{
			Level: slog.LevelWarn,
			ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr { // the event itself has time and level
				if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
					return slog.Attr{}
				}
				return a
			},
		}),
		text: text, source: source, lock: make(chan struct{}, 1),
	}
}

// Handle implements slog.Handler.
func (e eventLog) Handle(ctx context.Context, r slog.Record) error {
	e.lock <- struct{}{}
	defer func() { <-e.lock }()
	e.text.Reset()
	if err := e.Handler.Handle(ctx, r); err != nil {
		return err
	}
	if r.Level >= slog.LevelError {
		return e.source.Error(eventError, cut(e.text.String()))
	}
	return e.source.Warning(eventWarning, cut(e.text.String()))
}

// WithAttrs implements slog.Handler.
func (e eventLog) WithAttrs(attrs []slog.Attr) slog.Handler {
	e.Handler = e.Handler.WithAttrs(attrs)
	return e
}

// WithGroup implements slog.Handler.
func (e eventLog) WithGroup(name string) slog.Handler {
	e.Handler = e.Handler.WithGroup(name)
	return e
}

func (e eventLog) info(id uint32, text string) { _ = e.source.Info(id, text) }

func (e eventLog) close() { _ = e.source.Close() }

// ended tells the end of the job and returns the code of it for the service manager.
func (e eventLog) ended(status int, failure error, stopped bool) uint32 {
	code := serviceCode(status, failure, stopped)
	switch {
	case failure != nil:
		text := failure.Error()
		if _, hint := statusOf(failure); hint != "" {
			text += "\nhint: " + hint
		}
		_ = e.source.Error(eventFailed, cut(fmt.Sprintf("%s\nexit status %d of envexec, service exit code 0x%X", text, status, code)))
	case code != 0:
		_ = e.source.Error(eventEnded, fmt.Sprintf("the program ended with exit code %d (0x%X)", code, code))
	default:
		e.info(eventStopped, "stopped")
	}
	return code
}

// cut keeps a message below the event log's limit.
func cut(text string) string {
	const most = 30000
	if len(text) > most {
		return text[:most] + " …"
	}
	return text
}
