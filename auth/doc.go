// Package auth keeps one login to Vault alive. A Session logs in by a Method,
// tells each new token to its Sinks (the store first, then files), renews it on
// a schedule of its own, and logs in again before the token's hard end, when
// somebody found it invalid, and when its credentials changed.
//
// A new login is a new epoch. The old token lives on, and is renewed where it
// can be, until Retire says that nobody depends on it any more: make before
// break. Close revokes what is left. Only tokens this session logged in for are
// ever revoked, never one that was given.
//
// One goroutine, Run's, owns all state and decides; requests run beside it and
// hand their result back to it. All times are absolute on a clock that runs
// while the machine sleeps, and no timer waits longer than 30 s.
package auth
