package all

import (
	"context"
	"encoding/json"
	"errors"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hashicorp/vault/api"
	"go.uber.org/goleak"
)

// silence takes connections, says so, and never answers.
func silence(t *testing.T) (address string, asked <-chan struct{}) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	heard := make(chan struct{}, 100)
	var work sync.WaitGroup
	work.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer func() { _ = conn.Close() }()
				b := make([]byte, 1024)
				for {
					if _, err := conn.Read(b); err != nil {
						return
					}
					heard <- struct{}{}
				}
			})
		}
	})
	t.Cleanup(func() { _ = l.Close(); work.Wait() })
	return l.Addr().String(), heard
}

// TestCancelSilentProvider: a login that is cancelled while a provider is silent ends, and
// leaves no goroutine behind. (The KDCs of kerberos and Vault itself have tests of their own.)
func TestCancelSilentProvider(t *testing.T) {
	address, asked := silence(t)
	url := "http://" + address
	account, err := json.Marshal(map[string]string{"type": "authorized_user", "client_id": "c", "client_secret": "s", "refresh_token": "r", "token_uri": url})
	if err != nil {
		t.Fatal(err)
	}
	client, err := api.NewClient(&api.Config{Address: url})
	if err != nil {
		t.Fatal(err)
	}
	type m = map[string]any
	home := t.TempDir()
	for name, test := range map[string]struct {
		method   string
		settings m
		env      map[string]string
	}{
		"aws ec2":        {"aws", m{"type": "ec2", "role": "r"}, map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": url}},
		"aws iam":        {"aws", m{"type": "iam", "role": "r"}, map[string]string{"AWS_EC2_METADATA_SERVICE_ENDPOINT": url}},
		"aws container":  {"aws", m{"type": "iam", "role": "r"}, map[string]string{"AWS_CONTAINER_CREDENTIALS_FULL_URI": url}},
		"azure":          {"azure", m{"role": "r", "resource": "x", "authenticate_from_environment": true}, map[string]string{"IDENTITY_ENDPOINT": url, "IDENTITY_HEADER": "h"}},
		"gcp gce":        {"gcp", m{"type": "gce", "role": "r"}, map[string]string{"GCE_METADATA_HOST": address}},
		"gcp iam":        {"gcp", m{"type": "iam", "role": "r", "service_account": "a@p", "credentials": string(account)}, nil},
		"github_actions": {"github_actions", m{"role": "r"}, map[string]string{"ACTIONS_ID_TOKEN_REQUEST_URL": url, "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "t"}},
		"oci":            {"oci", m{"type": "instance", "role": "r"}, map[string]string{"OCI_METADATA_BASE_URL": url}},
	} {
		t.Run(name, func(t *testing.T) {
			made, err := New(test.method, test.settings, Options{Env: func(name string) string {
				if name == "HOME" {
					return home
				}
				return test.env[name]
			}})
			if err != nil {
				t.Fatal(err)
			}
			leaks := goleak.IgnoreCurrent()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			done := make(chan error, 1)
			go func() { _, err := made.Login(ctx, client); done <- err }()
			select {
			case <-asked:
			case err := <-done:
				t.Fatalf("ended without the provider: %v", err)
			}
			cancel()
			select {
			case err = <-done:
			case <-time.After(30 * time.Second):
				t.Fatal("it waits on")
			}
			if !errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "hvs.") {
				t.Errorf("%v, want context.Canceled", err)
			}
			goleak.VerifyNone(t, leaks)
		})
	}
}
