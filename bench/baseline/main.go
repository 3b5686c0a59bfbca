// Command baseline is what one would write by hand instead of envexec: log in,
// read one secret, become the program. It follows nothing, revokes nothing.
package main

import (
	"log"
	"os"
	"syscall"

	"github.com/hashicorp/vault/api"
)

func main() {
	client, err := api.NewClient(api.DefaultConfig())
	if err != nil {
		log.Fatal(err)
	}
	login, err := client.Logical().Write("auth/approle/login", map[string]any{
		"role_id": os.Getenv("VAULT_ROLE_ID"), "secret_id": os.Getenv("VAULT_SECRET_ID"),
	})
	if err != nil {
		log.Fatal(err)
	}
	client.SetToken(login.Auth.ClientToken)
	answer, err := client.Logical().Read("secret/data/app")
	if err != nil {
		log.Fatal(err)
	}
	password := answer.Data["data"].(map[string]any)["password"].(string)
	err = syscall.Exec(os.Args[1], os.Args[1:], append(os.Environ(), "PASSWORD="+password))
	log.Fatal(err)
}
