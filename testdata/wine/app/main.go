// Command app is the program of the tests under Wine. It connects to the test, says
// what it sees, and stays connected as long as it lives.
//
//	app ADDRESS [exit N | tree | args…]
package main

import (
	"encoding/json"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
)

func main() {
	conn, err := net.Dial("tcp", os.Args[1])
	if err != nil {
		os.Exit(9)
	}
	args := os.Args[2:]
	dir, _ := os.Getwd()
	env := map[string]string{}
	for _, v := range os.Environ() {
		if i := strings.IndexByte(v, '='); i > 0 {
			env[v[:i]] = v[i+1:]
		}
	}
	interrupts := make(chan os.Signal, 16)
	signal.Notify(interrupts, os.Interrupt)
	if err := json.NewEncoder(conn).Encode(map[string]any{"pid": os.Getpid(), "dir": dir, "args": args, "env": env}); err != nil {
		os.Exit(9)
	}
	switch {
	case len(args) == 2 && args[0] == "exit":
		n, _ := strconv.Atoi(args[1])
		os.Exit(n)
	case len(args) == 1 && args[0] == "tree": // with a child of its own
		if err := exec.Command(os.Args[0], os.Args[1], "leaf").Start(); err != nil {
			os.Exit(9)
		}
	}
	for range interrupts {
		if _, err := conn.Write([]byte("interrupt\n")); err != nil {
			os.Exit(9)
		}
	}
}
