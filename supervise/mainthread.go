package supervise

// OnMainThread runs run in a goroutine and returns its result. Meanwhile the
// caller, which must be main.main, collects orphans and does nothing else. Call
// it before anything starts a process.
func OnMainThread(run func() int) int {
	result := make(chan int, 1)
	go func() { result <- run() }()
	return reapUntil(result)
}
