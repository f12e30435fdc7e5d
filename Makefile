# What a fresh checkout can do, with git, make and Python 3.11 or newer. Everything made here lies in .venv/, in .cache/
# and, AWS's SDK for functions, in runtimes/; tests keep AWS's Node client in ~/.cache/lateen/, where all checkouts find
# it. The data of `make up` lies in .lateen/ (LATEEN_DATA), which no target removes.

UV := hack/uv
SYNC := $(UV) sync --locked --inexact --quiet
PACKAGES := runtimes/python3.12/packages runtimes/node20/sdk/node_modules

.DEFAULT_GOAL := help
.PHONY: help up test check bench bench-cluster clean

help: ## Show this list.
	@sed -n 's/^\([a-z-]*\):.*## /make \1\t/p' $(MAKEFILE_LIST)

runtimes/python3.12/packages: uv.lock hack/runtime-packages
	@hack/runtime-packages python
	@touch $@

runtimes/node20/sdk/node_modules: runtimes/node20/sdk/package-lock.json runtimes/node20/sdk/install
	@hack/runtime-packages node

up: ## Start Lateen on 127.0.0.1:8000 (LATEEN_PORT), with the example deployed; Ctrl-C ends it.
	@$(SYNC) --no-default-groups
	@$(MAKE) --silent -j 2 $(PACKAGES)
	@exec .venv/bin/lateen up --example

test: ## Run every test that this machine can run, and name the others; with KUBECONFIG also those on a cluster.
	@$(SYNC)
	@$(MAKE) --silent -j 2 $(PACKAGES)
	@.venv/bin/pytest -q -n 4 --dist loadfile --no-loadscope-reorder $(TESTS)

check: ## Format, lint, types, import rules and the fast tests.
	@$(SYNC)
	@hack/check

bench: ## Measure against peers; prints the README's table.
	@$(SYNC) --group bench
	@.venv/bin/python hack/bench

bench-cluster: ## The same in the cluster that KUBECONFIG names, of the release that hack/cluster-up installed.
	@$(SYNC) --group bench
	@.venv/bin/python hack/bench/cluster.py $(BENCH)

clean: ## Remove what the other targets made; data stays.
	@rm -rf .venv .cache .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist \
		platform/web/node_modules $(PACKAGES) $(addsuffix .*,$(PACKAGES))
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +
