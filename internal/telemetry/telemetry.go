// Package telemetry builds the one logger of the process. Every line envexec
// writes goes through it, to one stream, in one format.
package telemetry

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
)

// LevelTrace is below slog's own levels: every request, every timer.
const LevelTrace = slog.Level(-8)

// ParseLevel reads trace, debug, info, warn or error, in any case. Vault's own
// spellings (notice, warning, err and the empty string) are understood too.
func ParseLevel(s string) (slog.Level, error) {
	switch strings.ToLower(s) {
	case "trace":
		return LevelTrace, nil
	case "debug":
		return slog.LevelDebug, nil
	case "", "info", "notice":
		return slog.LevelInfo, nil
	case "warn", "warning":
		return slog.LevelWarn, nil
	case "error", "err":
		return slog.LevelError, nil
	}
	return 0, fmt.Errorf("unknown log level %q: use trace, debug, info, warn or error", s)
}

// NewLogger returns a logger writing to w; format is "text" (Vault calls it
// "standard"; the empty string means it too) or "json". level may be changed while it runs.
func NewLogger(w io.Writer, level slog.Leveler, format string) (*slog.Logger, error) {
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: nameTrace}
	switch strings.ToLower(format) {
	case "", "text", "standard":
		return slog.New(quiet{slog.NewTextHandler(w, opts)}), nil
	case "json":
		return slog.New(quiet{slog.NewJSONHandler(w, opts)}), nil
	}
	return nil, fmt.Errorf("unknown log format %q: use text or json", format)
}

func nameTrace(_ []string, a slog.Attr) slog.Attr {
	if a.Key == slog.LevelKey && a.Value.Any() == LevelTrace {
		a.Value = slog.StringValue("TRACE")
	}
	return a
}

// quiet drops write errors: a reader of our stderr that went away must not
// change what envexec does.
type quiet struct{ slog.Handler }

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	_ = q.Handler.Handle(ctx, r)
	return nil
}

func (q quiet) WithAttrs(a []slog.Attr) slog.Handler { return quiet{q.Handler.WithAttrs(a)} }
func (q quiet) WithGroup(name string) slog.Handler   { return quiet{q.Handler.WithGroup(name)} }
