// Package supervise is the parent of one program: it starts the program when
// the first Generation arrives, passes signals on, moves it over to new
// Generations, reaps what it leaves behind and reports how it ended.
//
// The shape, from the outside in:
//
//   - The main thread does nothing but reap orphans (OnMainThread). On Linux the
//     kernel keeps children per thread and __WNOTHREAD limits a wait to the
//     caller's own, so statuses of children started elsewhere are never stolen.
//     Elsewhere there is no such flag and no sub-reaper, hence no orphans to reap.
//   - One locked goroutine forks (spawner): the parent-death signal is tied to
//     the thread that forked, so that thread has to outlive every child.
//   - One goroutine per child waits for it, without collecting the status; the
//     zombie keeps its process id taken until its group has been cleaned up.
//   - One goroutine, Supervisor.Run, owns everything else. It feeds events to
//     machine.step, a pure function of state, event and time, and carries out
//     the actions that come back. Every event names the child it is about, so
//     the end of a replaced child can never be taken for the end of its successor.
package supervise
