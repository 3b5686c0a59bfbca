package main

import (
	"context"
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
