// Package signals knows signals by name and by number, which of them a parent
// may pass on to its program, and how a user asks for one to become another.
// It is a leaf and holds no state.
package signals
