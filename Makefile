# `make` alone lists the targets. Everything is installed into .venv by scripts/venv.sh,
# and again only when a lock has changed: a second run needs no network.
.DEFAULT_GOAL := help
.NOTPARALLEL:
SHELL := /bin/sh
# Some images set it. Each of the tests' processes would then compile all that it imports anew.
unexport PYTHONDONTWRITEBYTECODE
PY := .venv/bin/python
LOCK := $(PY) -m uv pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	--no-annotate --no-emit-index-url --custom-compile-command "make lock"

.PHONY: help run test mutants bench bench-scale bench-page screenshots lint audit coverage format docs wheel lock clean \
	frontend catalogue venv venv-dev node-modules programs

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1|/p' Makefile | while IFS='|' read -r name text; do \
		printf '  make %-11s %s\n' "$$name" "$$text"; done

run: venv ## serve on http://127.0.0.1:7860 (settings: .env.example)
	@exec $(PY) app.py

test: lint programs ## check everything and run all tests, as CI does
	@$(PY) -m pytest -n 4 --dist loadfile --no-loadscope-reorder --durations=40

bench: venv-dev ## measure the app beside a naive chat and a raw proxy (10 minutes)
	@$(PY) -m benchmarks

bench-scale: venv-dev ## measure one and two replicas behind nginx on PostgreSQL (5 minutes)
	@$(PY) -m benchmarks.scale

bench-page: venv-dev programs ## measure the page in Chromium and by Lighthouse beside Gradio's own chat (5 minutes)
	@$(PY) -m benchmarks.page

screenshots: venv-dev programs ## take pictures of the page: four widths, light and dark, each language (15 minutes)
	@$(PY) -m tests.web.screenshots

mutants: venv-dev ## take out each owner condition once and see a test fail (long)
	@$(PY) -m tests.mutants

lint: venv-dev node-modules ## check form, types, the direction of imports and the scripts
	@$(PY) -m ruff check .
	@$(PY) -m ruff format --check .
	@$(PY) -m mypy -n 2
	@.venv/bin/lint-imports --no-cache
	@.venv/bin/oxlint --quiet --deny-warnings cmw_agent frontend/build.mjs frontend/src bridge/src bridge/test
	@cd frontend && node_modules/.bin/tsc --noEmit
	@frontend/node_modules/.bin/tsc --project bridge

coverage: venv-dev ## show which branches the fast tests reach, and fail below the floor
	@mkdir -p artifacts
	@$(PY) -m coverage erase
	@$(PY) -m coverage run -m pytest -q -n 2 --dist loadfile tests/unit -m "not slow"
	@$(PY) -m coverage combine -q
	@$(PY) -m coverage report

audit: venv-dev ## look for known holes in the locked packages (pip-audit needs the network)
	@$(PY) scripts/audit.py

format: venv-dev ## put the code into its form
	@$(PY) -m ruff check --fix .
	@$(PY) -m ruff format .

frontend: node-modules ## build the page's scripts and styles of frontend/
	@node frontend/build.mjs

catalogue: venv-dev ## bring the catalogues of the languages up to date with the texts in the code
	@$(PY) -m cmw_agent.language.extraction

docs: venv-dev ## rewrite the settings in README.md and .env.example
	@$(PY) -m cmw_agent.config.docs

wheel: venv-dev ## build the wheel into artifacts/dist
	@$(PY) -m hatchling build -t wheel -d artifacts/dist

lock: venv-dev ## lock the dependencies of pyproject.toml for Python 3.11 to 3.14
	@$(LOCK) -o requirements.txt
	@$(LOCK) --extra dev --generate-hashes -c requirements.txt -o requirements-dev.txt
	@$(LOCK) --extra postgres --extra redis --generate-hashes -c requirements.txt \
		-o deploy/requirements.txt
	@$(PY) -m uv pip compile tests/clients/requirements.in --quiet --universal --python-version 3.11 \
		--no-annotate --no-emit-index-url --generate-hashes --custom-compile-command "make lock" \
		-o tests/clients/requirements.txt

clean: ## remove .venv and what tests and tools leave behind; data/ stays
	@rm -rf .venv .venv-clients artifacts frontend/node_modules bridge/node_modules benchmarks/node/node_modules tests/mcp/node/node_modules .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

venv:
	@sh scripts/venv.sh requirements.txt

venv-dev:
	@sh scripts/venv.sh requirements-dev.txt

node-modules: venv-dev
	@$(PY) -m tests.programs nodejs npm >/dev/null
	@sh scripts/node_modules.sh

programs: venv-dev
	@$(PY) -m tests.programs
	@sh scripts/node_modules.sh tests/mcp/node
	@sh scripts/venv.sh tests/clients/requirements.txt .venv-clients
