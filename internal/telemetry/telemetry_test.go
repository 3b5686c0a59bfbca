package telemetry

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
)

func TestLevels(t *testing.T) {
	for in, want := range map[string]slog.Level{
		"trace": LevelTrace, "DEBUG": slog.LevelDebug, "": slog.LevelInfo, "notice": slog.LevelInfo,
		"warning": slog.LevelWarn, "err": slog.LevelError,
	} {
		if got, err := ParseLevel(in); err != nil || got != want {
			t.Errorf("ParseLevel(%q) = %v, %v; want %v", in, got, err, want)
		}
	}
	if _, err := ParseLevel("loud"); err == nil || !strings.Contains(err.Error(), `"loud"`) {
		t.Errorf("ParseLevel of an unknown level: %v", err)
	}
}

func TestEveryLineIsOfOneFormat(t *testing.T) {
	var out bytes.Buffer
	log, err := NewLogger(&out, LevelTrace, "json")
	if err != nil {
		t.Fatal(err)
	}
	log.With("a", 1).WithGroup("g").Info("one", "b", 2)
	log.Log(t.Context(), LevelTrace, "two")
	for line := range strings.Lines(out.String()) {
		var m map[string]any
		if err := json.Unmarshal([]byte(line), &m); err != nil {
			t.Errorf("not JSON: %q", line)
		}
	}
	if !strings.Contains(out.String(), `"TRACE"`) {
		t.Errorf("trace has no name of its own: %s", out.String())
	}
	if _, err := NewLogger(&out, LevelTrace, "xml"); err == nil {
		t.Error("format xml was accepted")
	}
}

type gone struct{}

func (gone) Write([]byte) (int, error) { return 0, errors.New("broken pipe") }

func TestWriteErrorsAreNotOurs(t *testing.T) {
	log, _ := NewLogger(gone{}, slog.LevelInfo, "text")
	if err := log.Handler().Handle(t.Context(), slog.Record{}); err != nil {
		t.Errorf("a reader that went away reached the caller: %v", err)
	}
}
