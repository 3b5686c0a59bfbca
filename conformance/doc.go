// Package conformance holds the suite that proves envexec to be a good parent: every case of docs/conformance.md is a
// test named by its identifier (TestE1, TestS10, ...), run against the real binary and the fixture program.
//
// A case runs in the places it names: a plain process, process 1 of a pid namespace, a pseudo terminal, a Docker
// container and a unit of a real systemd. The last two, and the comparison with tini and dumb-init, need the build tag
// "integration", root and the Debian packages of packages.txt. What the machine lacks is skipped by name, unless
// ENVEXEC_TEST_REQUIRE lists it ("all", or some of vault, docker, systemd, pidns, pty, tini, dumb-init, root).
//
// ENVEXEC_BIN names the binary under test; without it ../bin/envexec is taken when the environment says so, and
// otherwise the suite builds its own.
package conformance
