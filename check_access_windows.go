package main

// mayWrite cannot tell on Windows without writing: access lists are for the system to read.
func mayWrite(string) error { return nil }
