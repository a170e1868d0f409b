# Two commands matter: make run and make test. Both do all the set-up that they need, and do nothing twice.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run stop clean test prove lint fmt bench setup setup-test images images-test linters browser build

STATE_DIR ?= $(CURDIR)/.state
export STATE_DIR

help: ## Show this list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: setup ## Set up everything and run the platform in the foreground
	@exec bin/controlplane dev

stop: build ## Stop the tenants and the databases that run left behind; data stays
	@exec bin/controlplane dev stop

clean: ## Remove everything of ours: tenants, databases, data, images, builds
	@scripts/clean.sh

test: setup-test ## Run linters and all tests, also those with real Odoo
	@scripts/test.sh

prove: setup-test ## Kill, cut off and race the platform at every point: docs/proofs.md says what that shows
	@PROVE=all scripts/with-env.sh go test ./test/prove -count=1 -v -timeout 10h

lint: ## Run the linters alone
	@scripts/lint.sh

bench: setup ## Measure provisioning, what becomes of it with many clients, and the edge beside Caddy and nginx
	@scripts/with-env.sh go run ./test/bench
	@scripts/with-env.sh go run ./test/bench/scale
	@scripts/with-env.sh go run ./test/bench/edge
	@scripts/test.sh ./internal/billing -run '^$$' -bench 'Apply|Reconcile' -benchtime 1x
	@scripts/test.sh ./internal/backup -tags bench -run TestBench -v

fmt: ## Format the Go code
	@scripts/lint.sh --fmt

# Images and program are built side by side: the one mostly waits for the mirror, the other for the processor.
setup:
	@$(MAKE) --no-print-directory -j2 images build

setup-test:
	@$(MAKE) --no-print-directory -j2 images-test linters build browser

images:
	@scripts/engine.sh
	@scripts/images.sh

images-test:
	@scripts/engine.sh
	@scripts/images.sh --test

linters:
	@scripts/lint.sh --build

browser:
	@scripts/browser.sh

build:
	@scripts/build.sh
