// Command probe is a program that only links package early.
package main

import _ "github.com/envexec/envexec/internal/early"

func main() {}
