//go:build !linux && !windows

package environ

// limits: the BSDs bound only the sum (ARG_MAX); 512 KiB is the smallest of theirs.
func limits() limit { return limit{each: 512 << 10, total: 512 << 10, pointer: 8} }
