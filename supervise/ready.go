package supervise

import (
	"time"
)

// Ready says how a program proves that it is ready.
type Ready struct {
	Timeout time.Duration // until it counts as failed; default 60s
	Soak    time.Duration // for Overlap: it has to stay ready so long before the old one goes
}

func (r *Ready) fill() { orDefault(&r.Timeout, time.Minute) }

// none reports that a program is ready as soon as it has started.
func (r *Ready) none() bool { return true }

func (r *Ready) check(*Config) error { return nil }
