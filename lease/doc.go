// Package lease owns everything Vault gave us. Whoever wants a secret asks one
// Store for it: the Store fetches it once however many ask, keeps it fresh on a
// schedule of its own, renews or replaces what dies, and tells the readers when
// a value really changed.
//
// # Model
//
// A secret.Request becomes an entry, known by its Key. An entry has two moments:
// when to fetch (again) and when to renew its lease. The earlier of the two is its
// place in one queue. One scheduler goroutine, Run, starts a bounded number of
// workers for what is due; an idle entry costs memory only. Each entry fails,
// backs off and recovers alone: no entry waits for another.
//
// What decides the next fetch:
//
//   - a lease that can be renewed: renewed after about two thirds of its time,
//     replaced when a renewal shows that its end has come (max TTL);
//   - a lease that cannot: replaced at RenewalThreshold of its time;
//   - a certificate that was issued: its NotAfter against the server's clock;
//   - a password Vault itself rotates (rotation_period and ttl): just after the rotation;
//   - anything else, KV foremost: every StaticInterval, or the shortest interval
//     a reader wished for.
//
// # Logins
//
// The Store is a sink for tokens. A new login changes no static secret. A lease
// dies with the token it was made with, so it is fetched anew under the new token;
// the old one is still renewed, with its own token, until Retire says that
// nobody uses it any more. Watcher.Epoch tells which login a reader depends on.
//
// # Time
//
// Every moment is measured on a clock that never steps and runs while the machine
// sleeps. No timer sleeps longer than 30 seconds, so a wake-up is noticed.
package lease
