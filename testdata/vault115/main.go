// Command vault115 serves the core of Vault 1.15, the last whose community edition
// sends events. It takes the flags of `vault server -dev` that the tests use and
// knows KV and AppRole.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"log"
	"net/http"
	"os"
	"time"

	"github.com/hashicorp/go-hclog"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/audit"
	"github.com/hashicorp/vault/builtin/audit/file"
	"github.com/hashicorp/vault/builtin/credential/approle"
	"github.com/hashicorp/vault/helper/namespace"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

func main() {
	log.SetFlags(0)
	if err := serve(); err != nil {
		log.Fatal(err)
	}
}

func serve() error {
	flags := flag.NewFlagSet("server", flag.ExitOnError)
	address := flags.String("dev-listen-address", "127.0.0.1:8200", "HOST:PORT")
	root := flags.String("dev-root-token-id", "root", "the root token")
	flags.Bool("dev", true, "ignored: it is nothing else")
	flags.Bool("dev-no-store-token", true, "ignored: it is not stored")
	if len(os.Args) < 2 || os.Args[1] != "server" {
		return errors.New("usage: vault115 server -dev [flags]")
	}
	if err := flags.Parse(os.Args[2:]); err != nil {
		return err
	}
	core, err := newCore()
	if err != nil {
		return err
	}
	if err := prepare(core, *root); err != nil {
		return err
	}
	server := http.Server{
		Addr:              *address,
		Handler:           vaulthttp.Handler.Handler(&vault.HandlerProperties{Core: core, ListenerConfig: &configutil.Listener{}}),
		ReadHeaderTimeout: 10 * time.Second,
	}
	return server.ListenAndServe()
}

func newCore() (*vault.Core, error) {
	logger := hclog.New(&hclog.LoggerOptions{Level: hclog.Warn})
	storage, err := inmem.NewInmem(nil, logger)
	if err != nil {
		return nil, err
	}
	return vault.NewCore(&vault.CoreConfig{
		Physical:           storage,
		DisableMlock:       true,
		Logger:             logger,
		LogicalBackends:    map[string]logical.Factory{"kv": kv.Factory},
		CredentialBackends: map[string]logical.Factory{"approle": approle.Factory},
		AuditBackends:      map[string]audit.Factory{"file": file.Factory},
		BuiltinRegistry:    noBuiltins{},
	})
}

// prepare initialises and unseals core, with the root token it is to have and KV 2 at secret/.
func prepare(core *vault.Core, root string) error {
	ctx := namespace.RootContext(context.Background())
	init, err := core.Initialize(ctx, &vault.InitParams{BarrierConfig: &vault.SealConfig{SecretShares: 1, SecretThreshold: 1}})
	if err != nil {
		return err
	}
	if _, err := core.Unseal(init.SecretShares[0]); err != nil {
		return err
	}
	for path, data := range map[string]map[string]any{
		"auth/token/create": {"id": root, "policies": []string{"root"}, "no_parent": true, "no_default_policy": true},
		"sys/mounts/secret": {"type": "kv", "options": map[string]string{"version": "2"}},
	} {
		answer, err := core.HandleRequest(ctx, &logical.Request{
			Operation: logical.UpdateOperation, ClientToken: init.RootToken, Path: path, Data: data,
		})
		if err != nil {
			return err
		}
		if answer.IsError() {
			return fmt.Errorf("%s: %w", path, answer.Error())
		}
	}
	return nil
}

// noBuiltins is the registry of builtin plugins: the core knows its own engines already.
type noBuiltins struct{}

func (noBuiltins) Contains(string, consts.PluginType) bool { return false }
func (noBuiltins) Keys(consts.PluginType) []string         { return nil }
func (noBuiltins) Get(string, consts.PluginType) (func() (any, error), bool) {
	return nil, false
}

func (noBuiltins) DeprecationStatus(string, consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Unknown, false
}

func (noBuiltins) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }
