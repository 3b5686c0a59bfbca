#!/bin/sh
# progress.sh TITLE COMMAND…: run a "go build -v" and print a line now and then
# instead of a thousand package names. Its status is the command's.
title=$1
shift
echo "Building $title"
{ "$@" 2>&1; echo "status $?"; } | awk '
	/^status [0-9]+$/ { status = $2; next }
	/^go: downloading / { if (++modules % 50 == 0) { print "  " modules " modules downloaded"; fflush() } next }
	/^[A-Za-z0-9.\/_~-]+$/ { if (++packages % 100 == 0) { print "  " packages " packages compiled"; fflush() } next }
	{ print; fflush() }
	END { if (status == 0) print "  done"; exit status }'
