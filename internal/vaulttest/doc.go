// Package vaulttest starts the real servers that tests, the demo and the
// benchmarks run against: Vault, PostgreSQL, slapd and a Kerberos KDC, each private, on loopback, in a
// temporary directory, gone at the end of the test.
//
// Nothing here imitates Vault. Where its binary is absent the test is skipped,
// or fails when ENVEXEC_TEST_REQUIRE names the part (see Missing), which is how
// CI makes sure that nothing was skipped.
//
//	v := vaulttest.Start(t)
//	v.Policy(t, "app", `path "secret/data/app" { capabilities = ["read"] }`)
//	role := v.AppRole(t, nil, "app")
//	v.PutKV2(t, "secret/app", map[string]any{"password": "s3cr3t"})
//	mark := v.Mark(t)
//	// … use v.Addr, role.ID, role.SecretID …
//	if n := len(v.AuditLog(t, mark)); n != 2 { … }
package vaulttest
