# make help lists the targets. Needs Go and make; everything else is fetched
# through Go's own module cache, at the versions pinned here and in testdata/vault.

GO            ?= go
VERSION       ?= $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
LDFLAGS       := -s -w -X main.version=$(VERSION)
# The tag leaves the command line library's manual writer out.
TAGS          := urfave_cli_no_docs
# TERM is caught from the first moment on where the program begins at a function of
# its own: see internal/early.
ifneq ($(filter linux/amd64 linux/arm64,$(shell $(GO) env GOOS)/$(shell $(GO) env GOARCH)),)
TAGS          := $(TAGS),entry
LDFLAGS       += -checklinkname=0 -E github.com/envexec/envexec/internal/early.entry
endif
BUILD          = CGO_ENABLED=0 $(GO) build -tags $(TAGS) -trimpath -buildvcs=false -ldflags '$(LDFLAGS)'
BINARY        ?= bin/envexec
MAX_BYTES     := 25000000
FUZZTIME      ?= 20s
PLATFORMS     := windows/amd64 darwin/arm64 freebsd/amd64 linux/arm64
GOLANGCI_LINT := github.com/golangci/golangci-lint/v2/cmd/golangci-lint@v2.15.0

# The race detector needs a C compiler: on where there is one.
RACE := $(shell command -v $$($(GO) env CC) >/dev/null 2>&1 && echo -race)

# Parts of the tests that must not be skipped (see internal/vaulttest). make test
# builds Vault, so there it always belongs to them.
ENVEXEC_TEST_REQUIRE ?= vault
export ENVEXEC_TEST_REQUIRE

VAULT_PACKAGE  := github.com/hashicorp/vault
PLUGIN_PACKAGE := github.com/hashicorp/vault/plugins/database/postgresql/postgresql-database-plugin
VAULT_MODULE   := testdata/vault/go.mod testdata/vault/go.sum
PLUGIN_BUILD   := env CGO_ENABLED=0 $(GO) build -C testdata/vault -v -trimpath -buildvcs=false -ldflags '-s -w'
VAULT_FOUND    := $(or $(VAULT_BIN),$(shell command -v vault 2>/dev/null))
WITH_PROGRESS  := sh testdata/vault/progress.sh

.DEFAULT_GOAL := help
.PHONY: help build vault vault-postgres vault-auth vault115 demo test integration conformance bench bench-config bench-proxy bench-supervise bench-store budget lint fmt fmt-check cross fuzz check clean man

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/envexec (BINARY=PATH), static and stripped
	@mkdir -p $(dir $(BINARY))
	$(BUILD) -o $(BINARY) .

vault: $(if $(FULL),bin/vault-full,bin/vault) ## bin/vault for tests and demo: VAULT_BIN, PATH, or built (6 minutes once); FULL=1: all engines (11)
	$(if $(FULL),@ln -sf vault-full bin/vault)

ifneq ($(VAULT_FOUND),)
bin/vault bin/vault-full: $(VAULT_FOUND)
	@mkdir -p bin
	@ln -sf '$(abspath $(VAULT_FOUND))' $@
	@echo "$@: using $(VAULT_FOUND)"
else
bin/vault: $(VAULT_MODULE)
	@$(WITH_PROGRESS) 'Vault (about 6 minutes on 2 cores, once)' $(GO) build -C testdata/vault -v -trimpath -buildvcs=false -ldflags '-s -w' -tags minimal -o ../../bin/vault $(VAULT_PACKAGE)

bin/vault-full: $(VAULT_MODULE)
	@$(WITH_PROGRESS) 'Vault with every engine (about 11 minutes on 2 cores, once)' $(GO) build -C testdata/vault -v -trimpath -buildvcs=false -ldflags '-s -w' -o ../../bin/vault-full $(VAULT_PACKAGE)
endif

vault-postgres: bin/plugins/postgresql-database-plugin ## Vault's PostgreSQL plugin, which a minimal Vault lacks

bin/plugins/postgresql-database-plugin: $(VAULT_MODULE)
	@$(WITH_PROGRESS) "Vault's PostgreSQL plugin" $(PLUGIN_BUILD) -o ../../$@ $(PLUGIN_PACKAGE)

vault-auth: bin/plugins/authplugins ## Vault's own login plugins in one program, which a minimal Vault lacks (3 minutes once)

bin/plugins/authplugins: $(VAULT_MODULE) $(wildcard testdata/vault/authplugins/*.go)
	@$(WITH_PROGRESS) "Vault's login plugins (about 3 minutes on 2 cores, once)" $(PLUGIN_BUILD) -o ../../$@ ./authplugins

vault115: bin/vault115 ## the core of Vault 1.15, whose community edition sends events (5 minutes once)

bin/vault115: testdata/vault115/go.mod testdata/vault115/go.sum testdata/vault115/main.go
	@$(WITH_PROGRESS) 'the core of Vault 1.15' env CGO_ENABLED=0 $(GO) build -C testdata/vault115 -v -trimpath -buildvcs=false -ldflags '-s -w' -o ../../bin/vault115 .

demo: build vault ## the main job on a real Vault, narrated; ends by itself
	@$(GO) run -buildvcs=false ./demo

test: vault ## all tests that need no root and no extra package, with a real Vault
	$(GO) test $(RACE) -timeout 20m ./...

integration: build vault vault-postgres vault-auth vault115 ## the other real parts: PostgreSQL, LDAP, Kerberos, Docker, systemd, terminals; says what it skips
	@sh testdata/parts.sh
	$(GO) test -count=1 -tags integration -timeout 20m -run Integration .
	$(GO) test -count=1 -tags integration -timeout 20m ./internal/vaulttest/...
	$(GO) test -count=1 -tags integration -timeout 20m -run "Plugins|VaultDecrypts|Conformance|Refusals|Owner" ./auth ./auth/sink ./auth/method/kerberos
	$(GO) test -count=1 -tags integration -timeout 20m -run Integration ./proxy
	$(GO) test -count=1 ./internal/rawconn

conformance: build vault ## every case of docs/conformance.md: in containers, under systemd, as process 1, beside tini
	$(GO) test -count=1 -tags integration -timeout 40m ./conformance/...

bench: build vault ## measure against vault agent and write docs/benchmarks.md
	@$(GO) run -buildvcs=false ./bench -out docs/benchmarks.md

bench-supervise: build vault ## measure as a parent process, beside tini, and write docs/supervision-benchmarks.md (Linux)
	@$(GO) build -buildvcs=false -o bin/bench-supervise ./bench/supervise
	@bin/bench-supervise -out docs/supervision-benchmarks.md

bench-config: build vault ## measure the loading of large files and write docs/configuration-benchmarks.md
	@$(GO) run -buildvcs=false ./bench/config -out docs/configuration-benchmarks.md

bench-store: build vault ## measure the lease store and put the figures into docs/secrets.md
	@$(GO) run -buildvcs=false ./bench/store -page docs/secrets.md

bench-proxy: build vault ## measure the listener against vault proxy with wrk and write docs/proxy-benchmarks.md
	@$(GO) run -buildvcs=false ./bench/proxy -vault bin/vault -envexec bin/envexec -out docs/proxy-benchmarks.md

budget: build ## fail when the binary is larger than it may be
	@size=$$(wc -c < bin/envexec); echo "bin/envexec: $$size bytes of $(MAX_BYTES)"; test $$size -le $(MAX_BYTES)

lint: ## golangci-lint, at its pinned version
	$(GO) run $(GOLANGCI_LINT) run ./...

man: ## docs/envexec.1, made from the flags
	$(GO) test -run DocsManPage -update .

fmt: ## format the code
	gofmt -s -w $$(git ls-files '*.go')

fmt-check:
	@test -z "$$(gofmt -s -l $$(git ls-files '*.go') | tee /dev/stderr)"

cross: ## build and vet for the other platforms
	@set -e; for p in $(PLATFORMS); do echo "cross $$p"; \
	  export CGO_ENABLED=0 GOOS=$${p%/*} GOARCH=$${p#*/}; \
	  $(GO) build -tags $(TAGS) -ldflags -checklinkname=0 -o /dev/null . && $(GO) vet ./...; done

fuzz: ## each fuzz target for FUZZTIME (20s)
	@set -e; grep -rEo --include='*_test.go' '^func Fuzz[A-Za-z0-9_]*' . | sed 's/:func /:/' | while IFS=: read -r file name; do \
	  echo "fuzz $$name"; $(GO) test -run '^$$' -fuzz "^$$name\$$" -fuzztime $(FUZZTIME) "./$$(dirname "$$file")"; done

check: fmt-check cross lint budget ## what must pass before the tests

clean: ## remove what was built
	rm -rf bin
