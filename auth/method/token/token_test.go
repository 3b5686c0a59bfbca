package token

import (
	"errors"
	"testing"

	"go.uber.org/goleak"

	"github.com/envexec/envexec/auth/authtest"
	"github.com/envexec/envexec/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestConformance(t *testing.T) {
	authtest.Run(t, func(t *testing.T, _ *authtest.Vault) authtest.Subject {
		m, err := New(Config{Token: secret.NewText("hvs.given")})
		if err != nil {
			t.Fatal(err)
		}
		want := authtest.NewValue("hvs.given")
		return authtest.Subject{
			Method: m, Given: true, Secrets: []string{"hvs.given"},
			Check: func(r authtest.Request) error {
				if r.Path != "auth/token/lookup-self" || r.Token != want.Get() {
					return errors.New("wrong request")
				}
				return nil
			},
			Spoil: func() { want.Set("another") },
		}
	})
}
