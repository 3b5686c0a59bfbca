// Package approle logs in with a role id and, where the role asks for one, a
// secret id. Both come from files, read anew at each login, or directly. The
// secret id may be delivered as a response-wrapping token: it is looked up,
// checked for where it was created, and unwrapped once.
package approle
