// Package due holds what everything with a schedule needs: a queue ordered by the
// moment an item is due, and the pause after a failure. Moments are points on the
// clock of internal/clock; nothing here reads a clock.
package due
