package main

import "golang.org/x/sys/unix"

// harden keeps other processes of the same user from reading our memory and
// environment, and secrets out of core files (prctl(2), PR_SET_DUMPABLE). Not
// RLIMIT_CORE: the program would inherit it.
func harden() { _ = unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0) }
