package clock

import "testing"

func TestNowNeverGoesBack(t *testing.T) {
	last := Now()
	if last <= 0 {
		t.Fatalf("time since boot = %v", last)
	}
	for range 1000 {
		next := Now()
		if next < last {
			t.Fatalf("went back from %v to %v", last, next)
		}
		last = next
	}
}
