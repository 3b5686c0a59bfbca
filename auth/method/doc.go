// Package method holds what the login methods below it share: the login
// request, credential files, the decoder of a "config" block, and the errors
// that say a login cannot succeed with the credentials as they are.
//
// A method is an api.AuthMethod. Its Login reads the credentials anew each time
// it is called, so a rotated file needs no restart. A method whose credentials
// can change under it also implements Credentials, and the session then notices
// the change.
package method
