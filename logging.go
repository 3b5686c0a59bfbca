package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/envexec/envexec/config"
	"github.com/envexec/envexec/internal/telemetry"
)

// logging is the log and what of it a reload may change.
type logging struct {
	log   *slog.Logger
	level *slog.LevelVar
	file  *telemetry.LogFile // closed when there is none
}

func newLogging(c config.Log, stderr io.Writer) (*logging, error) {
	l := &logging{level: new(slog.LevelVar), file: &telemetry.LogFile{}}
	var err error
	if l.log, err = telemetry.NewLogger(telemetry.Tee(stderr, l.file), l.level, c.Format); err != nil {
		return nil, misconfigured{err}
	}
	if err := l.set(c); err != nil {
		return nil, misconfigured{err}
	}
	return l, nil
}

// set changes the level and the file.
func (l *logging) set(c config.Log) error {
	level, err := telemetry.ParseLevel(c.Level)
	if err == nil {
		l.level.Set(level)
	}
	rotation := telemetry.Rotation{MaxBytes: c.RotateBytes, MaxAge: c.RotateDuration, MaxFiles: c.RotateMaxFiles}
	if fileErr := l.file.Open(c.File, rotation); fileErr != nil {
		err = errors.Join(err, fmt.Errorf("open the log file: %w", fileErr))
	}
	return err
}

func (l *logging) close() { _ = l.file.Open("", telemetry.Rotation{}) }

// setLog is for a reload; a file that cannot be opened leaves the old one.
func (j *job) setLog(c config.Log) {
	if err := j.logging.set(c); err != nil {
		j.log.Error("the log stays as it was", "error", err)
	}
}
