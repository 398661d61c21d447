# The commands of the project; `make` lists them.

SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.NOTPARALLEL:
.DEFAULT_GOAL := help
.PHONY: help run check soak template bench release deploy connect audit tools packages pictures

demo := local/bundle/demo
export PATH := $(CURDIR)/tools/bin:$(CURDIR)/tools/python/bin:$(PATH)
export SAM_CLI_TELEMETRY := 0
ifdef CI # every build there starts from nothing
export CARGO_INCREMENTAL := 0
endif

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-8s  %s\n", $$1, $$2 }' Makefile

run: packages ## run the whole bundle on this machine
	cargo run --locked

check: ## the gate: format, template, dependencies, lints, documentation, tests; prints how long each took
	@scripts/check

# No AWS account is used: the region only decides which services there are.
template: tools ## check template.yaml
	sam validate --lint --region eu-central-1
	cfn-lint --regions eu-central-1 -- template.yaml
	tools/python/bin/python scripts/table-template | cfn-lint --regions eu-central-1 --template /dev/stdin

soak: tools ## run the tests that take longer than 20 s
	@scripts/test soak

bench: ## measure the functions as they run on Lambda, beside hello-worlds, bare and with the AWS SDK
	@scripts/bench

release: soak ## soak; then build the functions for both architectures; shows sizes and glibc, runs the arm64 ones; ends with sam build
	@scripts/python scripts/requirements.txt
	@scripts/release

deploy: ## build the functions and deploy them to your AWS account; asks for the parameters, and keeps your answers
	@scripts/python scripts/requirements.txt scripts/release-requirements.txt
	sam build
	sam deploy --guided --stack-name whatsapp-onboarding --capabilities CAPABILITY_IAM

connect: ## point 360dialog at the bundle you have deployed (ARGS="--check" changes nothing; ARGS="--help" explains more)
	cargo run --locked -p operator -- connect --stack whatsapp-onboarding $(ARGS)

audit: tools ## search for known vulnerabilities in the dependencies (needs the network)
	cargo deny --locked check advisories

tools: ## install the missing tools that check needs (needs the network the first time)
	@scripts/tools
	@$(MAKE) --no-print-directory packages

pictures: packages ## take the README's pictures of the demo page again (needs Chromium and its driver)
	@scripts/pictures

# Installs the demo's npm packages, and again if package.json or its lock file has changed; bundles the pages with React.
packages:
	@cd $(demo) && cat package.json package-lock.json | cmp -s - node_modules/.installed || \
		{ npm ci --no-audit --no-fund && cat package.json package-lock.json > node_modules/.installed; }
	@cd $(demo) && npm run --silent bundle
