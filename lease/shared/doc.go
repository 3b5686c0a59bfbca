// Package shared keeps Vault's answers to the clients of a listener: raw bytes,
// known by caller and request. It is the part of the lease room that serves many
// callers; package lease itself serves the one session of envexec.
//
// # What is kept
//
// An entry is one caller's answer to one request; its key holds method, path and
// namespace, query, caller, content type and body. There are three kinds:
//
//   - a lease that can be renewed, read by a caller whose token we know (the session's,
//     or one made or logged in through us). It is renewed until it ends, and lives and
//     dies with the caller's token;
//   - a token that was made through us, a child of its maker unless it is an orphan. It
//     is renewed, and everything made with it dies with it. A login's token is known, but
//     its answer is not shared unless ShareLogins says so;
//   - a ticket to a KV secret. The secret's bytes are held once for all; a ticket is
//     earned by a caller's own successful read and by nothing else, lasts for
//     TicketLife and must be earned again then. Before the first hit the caller's
//     token is looked up: one with limited uses, bound to addresses, or that may not
//     look itself up is never served from here.
//
// A KV secret is served for at most MaxAge after Vault said it, MaxAgeEvents while
// the server tells us of its changes, MaxAgeOffline while it does not answer. A hit
// shows the time a lease has left, and Age.
//
// # What makes stale
//
// Requests that change something are announced before they are sent (Change) and
// settled when they end: what they touch is dropped, an answer that was on its way
// meanwhile is not kept, and nobody who asks afterwards is given an answer that was
// asked for before.
//
// # One flight
//
// Equal requests of one caller that could be kept share one request to Vault. A
// path that turns out to give nothing to keep is remembered, and not waited for again.
package shared
