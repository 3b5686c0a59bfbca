//go:build !linux

package main

import "testing"

// asNobody runs f as who we are: only Linux lets one thread be another user.
func asNobody(t *testing.T, f func(dir string)) { f(t.TempDir()) }
