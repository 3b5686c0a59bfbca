// Package files makes and replaces files that hold secrets: private from the
// moment they exist, and put in place in one step.
//
// A mode without rights for others (0600, 0640, 0400) is on Windows an access
// control list that lets only our own account and administrators in, inherited
// from nowhere. Any other mode takes what the directory gives.
package files
