package main

import (
	"fmt"
	"log/slog"
	"math"

	"go.uber.org/automaxprocs/maxprocs"
)

// fitProcessors makes Go work on as many processors as the control group may use, one
// for a sidecar's fraction of one, where Go takes at least two: a second one only spends
// the quota in half the time, and then everything stands still. GOMAXPROCS prevails.
func fitProcessors(log *slog.Logger) {
	say := maxprocs.Logger(func(format string, args ...any) { log.Debug("processors", "said", fmt.Sprintf(format, args...)) })
	up := maxprocs.RoundQuotaFunc(func(quota float64) int { return int(math.Ceil(quota)) })
	if _, err := maxprocs.Set(say, up); err != nil {
		log.Debug("the control group's quota cannot be told", "error", err)
	}
}
