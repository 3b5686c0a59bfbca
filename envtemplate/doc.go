// Package envtemplate turns what the user wrote (references, flags, templates)
// into Generations: the program's secret variables and files, complete or not at
// all.
//
// # Model
//
// Everything the user wrote becomes a unit: one variable, one file, or all keys of
// one secret. A unit knows the secrets it reads; those named literally are asked
// for together before it runs. A plain path#key is one look into a secret and never
// touches the template engine. A template runs once, in a goroutine of its own,
// and waits inside its secret function.
//
// One loop, Run, owns all units. When the Source says that secrets changed, only the
// units that use them run again, all with the same values. Their results make the
// next Generation; one equal to the last is dropped. A unit that fails keeps
// its last good result and is tried again with back-off; the others go on. What
// belongs together (a lease, an issued certificate) is never mixed from two answers.
//
// Before the first Generation a problem that does not heal ends Run, all
// problems joined. What heals by waiting is waited for.
//
// # Language
//
// Templates are consul-template's, with its whole function set, except: secret,
// secrets, pkiCert and file read through us; writeToFile writes with the Generation
// and only below the sandbox path; env sees the environment it is given; plugin and
// the functions that print to standard output are refused, Consul's and Nomad's as
// well. A missing key is an error, or, if the template allows it, empty text and a
// warning; never "<no value>". Messages of the engine that may quote a
// value are withheld.
//
// The template package writes no log of its own in the parts used here.
package envtemplate
