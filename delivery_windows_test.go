package main

import (
	"os"
	"path/filepath"
	"testing"
)

// What an envexec that was killed has left is swept away; what is held is not.
func TestServiceLeavesNoSecretsBehind(t *testing.T) {
	parent := t.TempDir()
	left := filepath.Join(parent, dropPrefix+"left")
	held := filepath.Join(parent, dropPrefix+"held")
	for _, dir := range []string{left, held} {
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, "secret"), []byte("s3cret"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	lock, err := lockDir(held)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := lockDir(held); err == nil {
		t.Error("a directory is held twice")
	}
	sweep(parent)
	if _, err := os.Lstat(left); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
	if _, err := os.Lstat(filepath.Join(held, "secret")); err != nil {
		t.Error(err)
	}
	(&drop{held, lock}).remove()
	if _, err := os.Lstat(held); !os.IsNotExist(err) {
		t.Errorf("it is still there: %v", err)
	}
	file := filepath.Join(parent, dropPrefix+"file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := lockDir(file); err == nil {
		t.Error("a file was taken for a directory")
	}
}
