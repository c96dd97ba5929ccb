# Thin on purpose: tools/uv finds or fetches uv, nox does the work (see noxfile.py).

UV := sh tools/uv
NOX := $(UV) run --locked --only-group nox nox
# Further arguments, e.g. make demo ARGS=--keep
ARGS ?=
# A commit for make bench to compare with
BASE ?=

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help demo test lint soak bench docs sync clean

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1\t\2/p' Makefile

demo: ## See flusso at work on a throw-away Postgres and OpenSearch
	$(UV) run --locked --package flusso-sandbox flusso demo $(ARGS)

test: ## Run every check that continuous integration runs
	$(NOX) $(ARGS)
	@$(UV) run --locked --only-group nox python tools/tally.py .nox/reports

lint: ## Check formatting, imports, spelling and types
	$(NOX) -s lint types $(ARGS)

soak: ## Run the tests that take long
	$(NOX) -s soak $(ARGS)

bench: ## Measure, and report against the goals; BASE=<git ref> compares with that commit
	$(NOX) -s bench -- $(if $(BASE),--base=$(BASE)) $(ARGS)

docs: ## Run the examples in the documentation
	$(NOX) -s docs $(ARGS)

sync: ## Create .venv with every package, extra and tool, to develop in
	$(UV) sync --locked --all-packages --all-extras --all-groups

clean: ## Delete environments, caches and built files
	rm -rf .nox .venv .uv-venv dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
