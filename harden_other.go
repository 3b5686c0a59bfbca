//go:build !linux

package main

// harden has nothing to ask of the system here.
func harden() {}
