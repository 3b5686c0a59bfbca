#!/bin/sh
# parts.sh: say which real parts the integration tests will find on this machine.
part() { # part NAME WHAT-IS-SKIPPED COMMAND…
	name=$1 what=$2
	shift 2
	if "$@" >/dev/null 2>&1; then
		echo "integration: $name found"
	else
		echo "integration: $name missing, skipped: $what"
	fi
}
has() { command -v "$1"; }
part postgres 'dynamic database credentials' sh -c 'command -v initdb || ls /usr/lib/postgresql/*/bin/initdb'
part slapd 'logins by ldap and kerberos' sh -c 'command -v slapd || ls /usr/sbin/slapd'
part krb5-kdc 'logins by kerberos' sh -c 'command -v krb5kdc || ls /usr/sbin/krb5kdc'
part docker 'container tests' sh -c 'ls /usr/sbin/dockerd /usr/bin/docker' # the tests start a daemon of their own
part systemd 'unit tests' sh -c 'test -d /run/systemd/system || command -v systemd'
part wine 'the Windows build, its service and its unit tests' sh -c 'ls /usr/lib/wine/wine64 && command -v x86_64-w64-mingw32-gcc'
part tini 'comparison with tini' has tini
part dumb-init 'comparison with dumb-init' has dumb-init
part nginx 'the example for nginx' has nginx
part gunicorn 'the example for gunicorn' has gunicorn
part root 'PID namespaces, --user' sh -c 'test "$(id -u)" = 0'
