// Package aws logs in with AWS credentials (type iam: a signed STS request that
// Vault makes in our name) or with an EC2 instance's identity document (type ec2).
//
// Credentials are looked for in the order of the SDKs: given keys, variables, the
// shared credentials file, a web identity, the container endpoint, the instance's
// metadata (IMDSv2). Profiles that run a program or need single sign-on are not
// supported. Temporary credentials are used until five minutes before their end.
package aws
