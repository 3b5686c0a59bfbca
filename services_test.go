package main

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// TestTheEndWaitsForGroupsOfGroups: listeners are one, also where there is nothing else,
// as without a login; their requests may finish.
func TestTheEndWaitsForGroupsOfGroups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _ := newServices(t.Context())
		ended := false
		s.group(s.fail).group(s.fail).start("listeners", func(ctx context.Context) error {
			<-ctx.Done()
			time.Sleep(time.Second)
			ended = true
			return nil
		})
		s.stop()
		if !ended {
			t.Error("it was not waited for")
		}
		synctest.Wait()
	})
}

// TestWhatFailsBecauseItsGroupEndsFailsNobody: a renderer whose store has ended must not end
// the program. The end reaches the contexts below one after the other, here a great many.
func TestWhatFailsBecauseItsGroupEndsFailsNobody(t *testing.T) {
	all, program := newServices(t.Context())
	defer all.stop()
	side := all.group(all.fail)
	for range 100_000 {
		_, cancel := context.WithCancel(side.ctx)
		defer cancel()
	}
	reading := side.group(all.fail)
	reading.start("renderer", func(context.Context) error {
		<-side.ctx.Done()
		return errors.New("the store has ended")
	})
	side.end()
	if err := context.Cause(program); err != nil {
		t.Errorf("the program ends: %v", err)
	}
}
