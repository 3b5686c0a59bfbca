// Package shared caches answers between callers.
package shared
