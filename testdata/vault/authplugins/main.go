// authplugins is Vault's own login plugins in one program: the argument says
// which one it serves. A test's Vault starts it, so that logins are judged by
// the code that judges them in production.
//
// With the argument decrypt it opens, with Vault's own code, what an encrypted
// sink holds: see decrypt.
package main

import (
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/hashicorp/go-hclog"
	alicloud "github.com/hashicorp/vault-plugin-auth-alicloud"
	azure "github.com/hashicorp/vault-plugin-auth-azure"
	cf "github.com/hashicorp/vault-plugin-auth-cf"
	gcp "github.com/hashicorp/vault-plugin-auth-gcp/plugin"
	kerberos "github.com/hashicorp/vault-plugin-auth-kerberos"
	kubernetes "github.com/hashicorp/vault-plugin-auth-kubernetes"
	oci "github.com/hashicorp/vault-plugin-auth-oci"
	"github.com/hashicorp/vault/api"
	awsauth "github.com/hashicorp/vault/builtin/credential/aws"
	"github.com/hashicorp/vault/builtin/credential/ldap"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/plugin"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == "decrypt" {
		if err := decrypt(os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	plugins := map[string]logical.Factory{
		"alicloud": alicloud.Factory, "aws": awsauth.Factory, "azure": azure.Factory, "cf": cf.Factory, "gcp": gcp.Factory,
		"kerberos": kerberos.Factory, "kubernetes": kubernetes.Factory, "ldap": ldap.Factory, "oci": oci.Factory,
	}
	factory, known := plugins[slices.Concat(os.Args[1:], []string{""})[0]]
	if !known {
		fmt.Fprintln(os.Stderr, "usage: authplugins METHOD; METHOD is one of", slices.Sorted(maps.Keys(plugins)))
		os.Exit(64)
	}
	meta := &api.PluginAPIClientMeta{}
	err := plugin.ServeMultiplex(&plugin.ServeOpts{
		BackendFactoryFunc: factory,
		TLSProviderFunc:    api.VaultPluginTLSProvider(meta.GetTLSConfig()),
	})
	if err != nil {
		hclog.New(&hclog.LoggerOptions{}).Error("plugin ended", "error", err)
		os.Exit(1)
	}
}
