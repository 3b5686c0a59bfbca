package config

import (
	"reflect"

	"github.com/envexec/envexec/environ"
	"github.com/envexec/envexec/secret"
)

// Again reads the same arguments and environment once more, with the files as they are
// now, from the directory envexec was started in. Errors are Parse's.
func (c *Config) Again() (*Config, error) { return parseFor(c.WorkDir, c.args, c.env, onWindows) }

// AdminPath is the status socket's file, "" for the system's own place or none.
func (c *Config) AdminPath() string {
	if c.Admin == "auto" || c.Admin == "off" {
		return ""
	}
	return c.Admin
}

// Same reports whether two parts of two Configs say the same, wherever it stands in a file.
func Same[T any](a, b T) bool { return same(reflect.ValueOf(a), reflect.ValueOf(b)) }

func same(a, b reflect.Value) bool {
	switch a.Interface().(type) {
	case Position:
		return true
	case secret.Text, environ.Environ:
		return reflect.DeepEqual(a.Interface(), b.Interface())
	}
	switch a.Kind() {
	case reflect.Struct:
		for i := range a.NumField() {
			if a.Type().Field(i).IsExported() && !same(a.Field(i), b.Field(i)) {
				return false
			}
		}
		return true
	case reflect.Slice:
		if a.Len() != b.Len() {
			return false
		}
		for i := range a.Len() {
			if !same(a.Index(i), b.Index(i)) {
				return false
			}
		}
		return true
	}
	return reflect.DeepEqual(a.Interface(), b.Interface())
}
