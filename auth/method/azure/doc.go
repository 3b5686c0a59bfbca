// Package azure logs in with a token of the machine's managed identity, or, with
// authenticate_from_environment, of the first identity the environment describes:
// a workload identity, an application's secret or certificate, an App Service or
// virtual machine identity.
//
// On a virtual machine the login also names it, which roles can be bound to.
// Elsewhere it goes without.
package azure
