//go:build !linux

package supervise

// reapUntil only waits: without a sub-reaper there are no orphans to collect.
func reapUntil(result <-chan int) int { return <-result }
