package main

import (
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
)

// version is set at link time; a plain `go build` or `go install` falls back to
// what the toolchain recorded.
var version string

func versionText() string {
	v := version
	if info, ok := debug.ReadBuildInfo(); v == "" && ok {
		v = info.Main.Version
	}
	if v == "" || v == "(devel)" {
		v = "development"
	}
	return fmt.Sprintf("envexec %s (%s, %s/%s)", v, runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

func printVersion(stdout io.Writer) int {
	fmt.Fprintln(stdout, versionText())
	return 0
}
