package vaulttest

import (
	"os"
	"slices"
	"strings"
)

// T is what this package needs of a *testing.T. Programs that are no tests
// (the demo, the benchmarks) bring a small one of their own, whose Fatalf and
// Skipf do not return either.
type T interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
	Logf(format string, args ...any)
	TempDir() string
}

// Parts a test may need, as ENVEXEC_TEST_REQUIRE spells them.
const (
	PartVault          = "vault"
	PartPostgres       = "postgres"
	PartPostgresPlugin = "vault-postgres"
	PartEvents         = "vault115"
	PartLoginPlugins   = "vault-auth"
	PartClients        = "clients" // of Vault: curl and Python's hvac
	PartLDAP           = "slapd"
	PartKerberos       = "krb5-kdc"
	PartGroff          = "groff"
	PartMandoc         = "mandoc"
	PartShells         = "shells" // bash, zsh and fish
	PartWine           = "wine"   // with mingw-w64
	PartRoot           = "root"   // the rights of user 0
)

// Missing ends the test because a real part is absent: it is skipped, or fails
// when ENVEXEC_TEST_REQUIRE (a comma-separated list, or "all") names the part.
func Missing(t T, part, why string) {
	t.Helper()
	if Required(part) {
		t.Fatalf("%s is required by ENVEXEC_TEST_REQUIRE: %s", part, why)
	}
	t.Skipf("needs %s: %s", part, why)
}

// Required reports whether ENVEXEC_TEST_REQUIRE names part.
func Required(part string) bool {
	list := strings.Split(os.Getenv("ENVEXEC_TEST_REQUIRE"), ",")
	return slices.Contains(list, part) || slices.Contains(list, "all")
}
