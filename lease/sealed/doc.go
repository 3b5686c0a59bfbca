// Package sealed keeps a few records on disk, encrypted, so that a restart works
// while Vault is away. It knows names and bytes only; what they mean is its user's.
//
// The file is a header and a log. Each log record holds a batch of changes, sealed
// with AES-256-GCM under a key derived for this file alone, and bound to its place:
// a record that was changed, moved, copied in from elsewhere or taken out of the
// middle is noticed, and then nothing of the file is believed. A file that ends in
// the middle of a record was cut by a crash or a full disk: what precedes it holds.
// What cannot be noticed is an older copy of the whole file, or records missing at
// its very end; the age of each record is its user's to check.
//
// A file is replaced only by rename, after its successor is on disk: when it holds
// more dead bytes than living ones, when its key changed, and when it was damaged.
package sealed
