// Command probe is the program that the benchmarks start: its first act is to
// note the time, in the file named by its first argument, together with the
// number of variables whose name begins with PASSWORD. With a second argument
// it then stays for that long.
package main

import (
	"fmt"
	"os"
	"strings"
	"time"
)

func main() {
	now := time.Now().UnixNano()
	count := 0
	for _, variable := range os.Environ() {
		if strings.HasPrefix(variable, "PASSWORD") {
			count++
		}
	}
	if err := os.WriteFile(os.Args[1], fmt.Appendf(nil, "%d %d\n", now, count), 0o600); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	if len(os.Args) > 2 {
		stay, err := time.ParseDuration(os.Args[2])
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		time.Sleep(stay)
	}
}
