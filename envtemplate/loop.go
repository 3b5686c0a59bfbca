package envtemplate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/envexec/envexec/secret"
)

// loop is one Run. Everything in it belongs to the goroutine that called Run.
type loop struct {
	*Renderer
	ctx      context.Context
	reads    *reads
	recall   *recall
	running  sync.WaitGroup
	finished chan finish

	pending  int       // units waiting or running
	asked    int       // answers on their way that may set more of them going
	touched  bool      // something came out since the last Generation
	deadline time.Time // when the units still pending no longer hold up the others; zero = no deadline
	epoch    uint64
	last     *Generation
	unfit    bool               // what was adopted last did not fit together
	planned  map[*unit]struct{} // those with a retryAt
	engines  chan struct{}      // bounds the units that compute at once
	watch    watch
	flushing []*flush
}

// finish is the end of one unit's run.
type finish struct {
	u    *unit
	out  output
	err  error
	used []*read
	took time.Duration
}

func (l *loop) run() error {
	for _, u := range l.units {
		if w, ok := u.work.(*templateWork); ok && w.text.source != "" {
			l.follow(w.text.source)
		}
		l.begin(u)
	}
	defer func() {
		if l.watch.notify != nil {
			l.watch.notify.Close()
		}
	}()
	timer := time.NewTimer(time.Hour)
	defer timer.Stop()
	for {
		if done, err := l.compose(); done {
			return err
		}
		l.flushed()
		timer.Reset(l.sleep())
		select {
		case <-l.ctx.Done():
			return nil
		case landed := <-l.reads.landed:
			l.landed(landed)
		case f := <-l.finished:
			l.finish(f)
		case <-l.cfg.Source.Changed():
			l.changed()
		case f := <-l.flushes:
			l.flush(f)
		case <-l.events():
			if soon := time.Now().Add(quietFile); soon.Before(l.watch.lookAt) {
				l.watch.lookAt = soon
			}
		case <-timer.C:
			l.retry()
			if at := l.watch.lookAt; !at.IsZero() && !time.Now().Before(at) {
				l.look()
			}
		}
	}
}

// begin runs u, or lets it wait for what it is known to read.
func (l *loop) begin(u *unit) {
	switch u.phase {
	case running:
		u.dirty = true
		return
	case waiting: // it has not looked at anything yet
		return
	}
	l.pending++
	u.phase, u.dirty, u.changedAt = waiting, false, time.Time{}
	l.plan(u, time.Time{})
	u.missing = 0
	for i, req := range u.requests {
		r := l.reads.want(u.keys[i], req)
		if !slices.Contains(u.uses, r) {
			u.uses = append(u.uses, r)
			r.add(u)
		}
		if !r.loaded() {
			u.missing++
		}
	}
	if u.missing == 0 {
		l.start(u)
	}
}

// start runs u now.
func (l *loop) start(u *unit) {
	u.phase = running
	work := u.work
	if !u.engine {
		l.finish(l.execute(u, work))
		return
	}
	l.running.Go(func() {
		l.engines <- struct{}{}
		f := l.execute(u, work)
		<-l.engines
		select {
		case l.finished <- f:
		case <-l.ctx.Done():
		}
	})
}

// execute does u's work once.
func (l *loop) execute(u *unit, work worker) finish {
	f := finish{u: u}
	start := time.Now()
	l.busy.Store(u.name, nil)
	defer l.busy.Delete(u.name)
	var mu sync.Mutex
	f.out, f.err = work.run(l.ctx, func(req secret.Request) (*secret.Secret, error) {
		l.recall.offer(l.ctx, u, req, l.reads)
		r := l.reads.want(req.Key(), req)
		mu.Lock()
		if !slices.Contains(f.used, r) {
			f.used = append(f.used, r)
		}
		mu.Unlock()
		if u.engine && !r.loaded() { // let another engine run while this one waits
			<-l.engines
			defer func() { l.engines <- struct{}{} }()
		}
		return l.reads.get(l.ctx, r)
	})
	f.took = time.Since(start)
	return f
}

// finish takes in what a run gave.
func (l *loop) finish(f finish) {
	u := f.u
	u.phase = resting
	l.pending--
	if l.ctx.Err() != nil {
		return
	}
	stale := u.dirty || slices.ContainsFunc(f.used, func(r *read) bool { return l.reads.current(r) != r })
	l.use(u, f.used, f.err != nil)
	if stale {
		l.begin(u)
		return
	}
	if l.recalledInVain(u, f) {
		return
	}
	l.touched = true
	u.err, u.includes = f.err, f.out.includes
	for path := range u.includes {
		l.follow(path)
	}
	if f.err != nil {
		l.fail(u)
		return
	}
	for _, w := range f.out.warnings {
		if u.latest == nil || !slices.Contains(u.latest.warnings, w) {
			l.log.Warn("secret is not complete", "unit", u.name, "detail", w)
		}
	}
	u.fails = 0
	u.latest = &result{output: f.out, made: f.used}
	l.plan(u, time.Time{})
	l.cfg.Trace.render(u.name, f.took)
}

// recalledInVain asks for what an earlier life left and does not serve u; its answer
// runs u again.
func (l *loop) recalledInVain(u *unit, f finish) (vain bool) {
	for _, r := range f.used {
		if !r.recalled || u.latest != nil && slices.Contains(u.latest.made, r) {
			continue
		}
		if serves(r.sec, u.work, f.out, f.err) {
			l.log.Info("certificate is used again", "unit", u.name, "secret", r.req.String(), "replaced_in", l.reads.endsIn(r))
			continue
		}
		vain = true
		l.log.Debug("certificate of the last life is not used: its files do not have all of it", "unit", u.name, "secret", r.req.String())
		l.asked += l.reads.reject(r)
	}
	return vain
}

// use notes what u read. After a failure what the last good result reads is kept too.
func (l *loop) use(u *unit, used []*read, failed bool) {
	var next []*read
	add := func(r *read) {
		if r != nil && !slices.Contains(next, r) {
			next = append(next, r)
		}
	}
	for _, r := range used {
		add(l.reads.current(r))
	}
	for i, req := range u.requests {
		add(l.reads.want(u.keys[i], req))
	}
	if failed && u.latest != nil {
		for _, r := range u.latest.made {
			add(l.reads.current(r))
		}
	}
	for _, r := range u.uses {
		if !slices.Contains(next, r) {
			r.remove(u)
		}
	}
	for _, r := range next {
		if !slices.Contains(u.uses, r) {
			r.add(u)
		}
	}
	u.uses = next
}

// fail reports u's problem and plans another try.
func (l *loop) fail(u *unit) {
	u.fails++
	wait := l.cfg.pause(u.fails)
	l.plan(u, time.Now().Add(wait))
	l.cfg.Trace.problem(u.name, u.err)
	if l.last != nil || l.patient(u) {
		l.log.Warn("secret cannot be rendered", "unit", u.name, "error", u.err, "retry_in", wait.Round(time.Millisecond))
	}
}

// retry runs what is due: failed units, and those whose result has an end.
func (l *loop) retry() {
	now := time.Now()
	ended, _ := l.reads.ended(now)
	for i := range ended { // each alone: one may take long
		l.asked += l.reads.again(ended[i : i+1])
	}
	for u := range l.planned {
		if u.retryAt.After(now) || u.phase != resting {
			continue
		}
		var refused []secret.Key
		if u.err != nil {
			for _, r := range u.uses {
				if _, err := l.reads.value(r); err != nil {
					refused = append(refused, r.key)
				}
			}
		}
		if len(refused) == 0 {
			l.begin(u)
			continue
		}
		l.asked += l.reads.again(refused)
		u.fails++
		l.plan(u, now.Add(l.cfg.pause(u.fails)))
	}
}

// plan makes u run again at t; zero = only when something changes.
func (l *loop) plan(u *unit, t time.Time) {
	u.retryAt = t
	if t.IsZero() {
		delete(l.planned, u)
	} else {
		l.planned[u] = struct{}{}
	}
}

// sleep is the time until something is due by itself.
func (l *loop) sleep() time.Duration {
	wake := time.Now().Add(time.Hour)
	if !l.deadline.IsZero() {
		wake = l.deadline
	}
	if at := l.watch.lookAt; !at.IsZero() && at.Before(wake) {
		wake = at
	}
	if _, at := l.reads.ended(time.Time{}); !at.IsZero() && at.Before(wake) {
		wake = at
	}
	for _, f := range l.flushing {
		if now := time.Now(); f.until.After(now) && f.until.Before(wake) {
			wake = f.until
		}
	}
	for u := range l.planned {
		if u.phase == resting && u.retryAt.Before(wake) {
			wake = u.retryAt
		}
	}
	return max(time.Until(wake), 0)
}

// delay runs u after a change: when its secrets have rested for its quiet time, but
// not later than its longest wait.
func (l *loop) delay(u *unit) {
	if u.quiet == 0 || u.latest == nil || u.phase != resting {
		l.begin(u)
		return
	}
	now := time.Now()
	if u.changedAt.IsZero() {
		u.changedAt = now
	}
	due := now.Add(u.quiet)
	if last := u.changedAt.Add(u.quietMax); due.After(last) {
		due = last
	}
	l.plan(u, due)
}

// landed takes in an answer of the Source.
func (l *loop) landed(landed landing) {
	if landed.again {
		l.asked--
	}
	users, first := l.reads.settle(landed)
	if landed.again && l.reads.current(landed.read) != landed.read {
		l.recall.forget(landed.read.key)
	}
	for _, u := range users {
		if !first || u.phase == running {
			l.delay(u)
			continue
		}
		if u.missing--; u.phase == waiting && u.missing == 0 {
			l.start(u)
		}
	}
}

// changed takes in the Source's news.
func (l *loop) changed() {
	keys := l.recall.lost(l.ctx, l.cfg.Source.Take())
	if epoch := l.cfg.Source.Epoch(); epoch != l.epoch {
		l.epoch, l.touched = epoch, true
		keys = append(keys, l.reads.outlived(epoch)...)
	}
	slices.Sort(keys)
	l.asked += l.reads.again(slices.Compact(keys))
}

// patient reports whether u's problem is no reason to end before the first Generation.
func (l *loop) patient(u *unit) bool {
	return u.patient || l.cfg.Patient || errors.Is(u.err, secret.ErrUncertain)
}

// problems joins what keeps the first Generation from being.
func (l *loop) problems() error {
	var errs []error
	for _, u := range l.units {
		if u.err != nil && u.latest == nil && !l.patient(u) {
			errs = append(errs, fmt.Errorf("%s: %w", u.name, u.err))
		}
	}
	return errors.Join(errs...)
}
