package lease

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/envexec/envexec/internal/clock"
	"github.com/envexec/envexec/internal/due"
	"github.com/envexec/envexec/secret"
)

// Store keeps every secret somebody asked for. Create it with New, feed it
// tokens with WriteToken, read through Watchers, and Run it.
type Store struct {
	cfg    Config
	log    *slog.Logger
	now    func() time.Duration
	road   road
	mounts *mounts
	plan   scheduler
	pause  due.Backoff

	kick    chan struct{} // something became due earlier than the scheduler thinks
	done    chan struct{} // closed when Run ends
	workers sync.WaitGroup

	mu      sync.Mutex
	running bool
	frozen  bool          // see Freeze
	token   *secret.Token // the newest; nil before the first
	tokenAt time.Duration // when it came
	invalid uint64        // epoch of the newest token reported as invalid
	entries map[secret.Key]*entry
	old     map[*entry]struct{} // superseded leases
	queue   due.Queue[*entry]
	lanes   lanes
	armed   time.Duration // when the scheduler looks again
	quiet   grumble
	shelf   *shelf // nil without a cache
	readers []*Watcher
}

// New checks cfg.
func New(cfg Config) (*Store, error) {
	cfg, err := cfg.complete()
	if err != nil {
		return nil, err
	}
	road, err := newRoad(cfg.Client, !cfg.NoRedirects)
	if err != nil {
		return nil, err
	}
	return &Store{
		cfg: cfg, log: cfg.Logger, now: cfg.clock,
		road:   road,
		mounts: newMounts(),
		plan: scheduler{
			static: cfg.StaticInterval, floor: cfg.MinInterval, threshold: cfg.RenewalThreshold,
			certMin: cfg.CertMinRemaining, random: cfg.random,
		},
		pause:   due.Backoff{Min: cfg.MinBackoff, Max: cfg.MaxBackoff, Random: cfg.random},
		kick:    make(chan struct{}, 1),
		done:    make(chan struct{}),
		entries: map[secret.Key]*entry{},
		old:     map[*entry]struct{}{},
		lanes:   lanes{max: cfg.MaxConcurrent},
		armed:   never,
		shelf:   newShelf(cfg.Cache, cfg.CacheMaxAge),
	}, nil
}

// Run fetches and renews until ctx ends, then waits for the requests in flight
// and returns nil. It may be called once.
func (s *Store) Run(ctx context.Context) error {
	s.mu.Lock()
	if s.running {
		s.mu.Unlock()
		return errors.New("lease store runs already")
	}
	s.running = true
	s.mu.Unlock()
	defer close(s.done)
	defer s.workers.Wait()

	if s.shelf != nil {
		s.workers.Go(func() { s.saver(ctx) })
	}
	if s.cfg.Events != nil {
		s.workers.Go(func() { s.follow(ctx) })
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		timer.Reset(s.dispatch(ctx))
		select {
		case <-ctx.Done():
			return nil
		case <-s.kick:
		case <-timer.C:
		}
	}
}

// dispatch starts workers for what is due and returns how long to sleep.
func (s *Store) dispatch(ctx context.Context) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	now := s.now()
	for {
		f := s.next(now)
		if f == nil {
			break
		}
		s.workers.Go(func() { s.work(ctx, f) })
	}
	s.armed = after(now, clock.MaxSleep)
	if e, ok := s.queue.First(); ok && s.token != nil && !s.lanes.full() {
		s.armed = min(s.armed, max(e.At, now))
	}
	return s.armed - now
}

// next takes the flight that is due, or nil: nothing is due, or no lane is free. s.mu is held.
func (s *Store) next(now time.Duration) *flight {
	for s.token != nil {
		e, ok := s.queue.First()
		if !ok || e.At > now {
			return nil
		}
		if e.superseded && (e.fetchAt <= now || e.lease.end <= now) {
			s.drop(e)
			continue
		}
		lane := s.lanes.enter(e.slow)
		if lane == noLane && !e.slow {
			return nil
		}
		s.queue.Remove(e)
		if lane == noLane {
			s.lanes.wait(e)
			continue
		}
		return s.takeOff(e, lane, now)
	}
	return nil
}

// work flies f, then whatever else is due.
func (s *Store) work(ctx context.Context, f *flight) {
	for f != nil {
		s.fly(ctx, f)
		s.mu.Lock()
		if e := s.lanes.leave(f.lane); e != nil {
			s.requeue(e)
		}
		f = nil
		if ctx.Err() == nil {
			f = s.next(s.now())
		}
		s.rearm()
		s.mu.Unlock()
	}
}

// rearm wakes the scheduler when it would look too late. s.mu is held.
func (s *Store) rearm() {
	e, ok := s.queue.First()
	if !ok || e.At >= s.armed || s.token == nil {
		return
	}
	s.armed = e.At // one wake-up is enough
	select {
	case s.kick <- struct{}{}:
	default:
	}
}

// requeue puts e where its moments say. s.mu is held.
func (s *Store) requeue(e *entry) {
	if e.phase == gone {
		return
	}
	if s.frozen && e.value != nil && !e.superseded {
		e.fetchAt = never
	}
	e.At = min(e.fetchAt, e.renewAt)
	if e.At == never {
		e.phase = parked
		s.queue.Remove(e)
		return
	}
	e.phase = queued
	s.queue.Set(e)
}

// drop forgets e. s.mu is held.
func (s *Store) drop(e *entry) {
	s.queue.Remove(e)
	e.phase = gone
	e.wake()
	if e.superseded {
		delete(s.old, e)
		return
	}
	delete(s.entries, e.key)
}

// fetchSoon makes e due for a fetch at the given moment. s.mu is held.
func (s *Store) fetchSoon(e *entry, at time.Duration) {
	e.wanted = true
	switch e.phase {
	case flying: // landing looks at wanted
	case held: // due already
	default:
		e.fetchAt = min(e.fetchAt, at)
		s.requeue(e)
	}
}
