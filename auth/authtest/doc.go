// Package authtest is the conformance suite every login method passes: a good
// login, bad credentials, expiry, rotation in mid-flight, cancel in flight, slow
// and garbage answers, no secret in any error or log, no goroutine left.
//
// The suite's Vault is a loopback server that answers as a real one does and
// leaves the judgement of a login request to the method's own, independent
// verifier. Logins to a real Vault are the methods' own tests.
package authtest
