// Package config turns flags, environment variables and Vault Agent or Vault
// Proxy files (HCL or JSON) into one complete, checked Config.
//
// Precedence is flag > environment > file > default, key by key; every value
// remembers where it came from (Config.Settings). All problems are found before
// any is reported: a wrong command line is a *UsageError, everything else one
// *Error that lists each Problem with file, line, column and the nearest valid
// key. Nothing is opened but the configuration files themselves and the env files:
// no credential, certificate or template source.
//
// The finished Config holds plain values, no pointers, and knows no other room;
// the root package translates it into the Config of each.
package config
