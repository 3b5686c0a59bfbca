// Package jwt logs in with a JSON web token of an issuer that Vault's jwt method
// trusts: from a file, given directly, asked from GitHub Actions, or found in a
// variable as GitLab CI sets it.
package jwt
