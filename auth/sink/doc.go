// Package sink writes tokens to files for other programs: atomically, with a
// mode and an owner, response-wrapped or encrypted when asked for.
package sink
