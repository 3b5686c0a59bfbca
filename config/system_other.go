//go:build !windows

package config

const onWindows = false
