// Package gcp logs in with an instance's identity token (type gce) or with a
// token signed in a service account's name (type iam). For iam, a service
// account key signs by itself when it is the account's own; any other credential
// asks the IAM credentials API to sign.
//
// Credentials are looked for in this order: the setting, GOOGLE_CREDENTIALS,
// GOOGLE_CLOUD_KEYFILE_JSON, ~/.gcp/credentials, GOOGLE_APPLICATION_CREDENTIALS,
// gcloud's application default file, the instance's metadata. Understood are the
// types service_account, authorized_user, and external_account with a file or URL.
package gcp
