# What a developer and CI run. Each target says what it does.
SHELL := /bin/bash
GO ?= go
TOOL = $(GO) tool -modfile=tools/go.mod
DEMO_DIR ?= demo-data

.PHONY: help demo test test-bench test-cron race chaos lint bench build console clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 10

demo: ## run a CSV import of 34,000 rows with a page to look at
	@echo "Building the backoffice example and starting it; its data are in ./$(DEMO_DIR)."
	@DATA=$(DEMO_DIR) examples/backoffice/demo.sh

test: ## all tests
	@echo "Running all tests (about eight minutes; real servers, real processes, real SIGKILL, a real browser)."
	@internal/testserver/install.sh
	$(GO) test -timeout 10m ./...
	@$(MAKE) --no-print-directory -j 2 -O test-bench test-cron
	console/test.sh

# Modules of their own, so that nobody else depends on errand's peers.
test-bench:
	cd bench && $(GO) test -timeout 5m ./...
test-cron:
	cd robfig/same && $(GO) test -timeout 5m ./...
	cd cron/differential && $(GO) test -timeout 5m ./...

race: ## all tests with the race detector
	@echo "Running all tests with the race detector (about eight minutes)."
	@internal/testserver/install.sh
	CGO_ENABLED=1 $(GO) test -race -short -timeout 15m ./...

chaos: ## faults with real processes on PostgreSQL for FOR=10m; ARGS are flags (-seed repeats the choice of faults)
	@internal/testserver/install.sh
	$(GO) run ./chaos -for $(or $(FOR),10m) $(ARGS)

lint: ## vet, staticcheck, formatting, go.mod
	@echo "Checking the code: vet, staticcheck, gofumpt, go mod tidy."
	$(GO) vet ./... && (cd bench && $(GO) vet ./...) && (cd cron/differential && $(GO) vet ./...) && cd robfig/same && $(GO) vet ./...
	$(TOOL) staticcheck ./...
	@out=$$($(TOOL) gofumpt -l $$(git ls-files '*.go')); test -z "$$out" || { echo "gofumpt would change: $$out"; exit 1; }
	$(GO) mod tidy -diff
	cd bench && $(GO) mod tidy -diff
	cd cron/differential && $(GO) mod tidy -diff
	cd robfig/same && $(GO) mod tidy -diff

bench: ## errand beside its peers, about two hours; ARGS are flags of bench (-h lists them), such as "-systems PG"
	@echo "Measuring errand beside its peers (PostgreSQL and Redis are started for it)."
	cd bench && $(GO) run . $(ARGS)

console: ## the page for operators, from its source (Node 20.19 or newer)
	cd console && npm ci --no-audit --no-fund && npm run build

build: ## the binary, into bin/
	$(GO) build -o bin/errand ./cmd/errand

clean: ## remove what the other targets made
	rm -rf bin $(DEMO_DIR)
