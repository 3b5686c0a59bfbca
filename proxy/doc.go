// Package proxy listens for any Vault client and answers as Vault does: the API
// proxy of Vault Agent and Vault Proxy, with a cache behind it when one is asked for.
//
// # Road of a request
//
//	listener ─► guard ─► caller's token ─► cache (package lease/shared) ─► forward ─► Vault
//
// The guard is the listener's: peer credentials, TLS, a required header, its role
// and its limits. The caller's token is the request's own, the session's (when it
// may be lent), or the child's bearer, which is valid here only and stands for the
// session's. Forwarding streams both ways: nothing is read whole that need not be,
// a client that goes away cancels its request upstream, and nothing is sent twice
// unless that is harmless.
//
// # What differs from straight to Vault
//
// Vault sees our address and our TLS identity, so a login with a TLS certificate and
// CIDR bindings concern us, not the client. A body of more than 64 KiB is not sent
// again after a redirect: the client gets the redirect. The session's own token is
// taken out of the answers that would tell it. The User-Agent carries our name.
//
// # Life
//
// New checks, Bind opens the listeners, Run serves until its context ends and then
// lets running requests finish for Config.Drain. A Proxy is a sink for tokens:
// requests that are lent the session's token wait for the first WriteToken.
package proxy
