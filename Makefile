# Everything happens in .venv; `make help` lists the commands.
SHELL := /bin/sh
MAKEFLAGS += --no-print-directory
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --no-input install --quiet --require-hashes -r

# make run, make serve
PORT ?= 8000
SERVER ?= daphne
# Not taken from the environment, where shells keep the machine's own name under it.
HOST := 127.0.0.1
# make test
FAST ?=
SLOW ?=
# make test, make lock, make bench
ARGS ?=
# make bench
QUICK ?=
ROUNDS ?=
PEERS ?=

# What a deployment gives, for the checks that must see it; no database is touched.
PRODUCTION := DEBUG=0 SECURE_SSL=1 ALLOWED_HOSTS=chat.example.org DATABASE_URL=sqlite://:memory: REDIS_URL= \
	SECRET_KEY="$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(50))')"
# What the tests and the checks need from npm.
JS := tests/js/node_modules/.installed
BIOME := $(BIN)/python -m tests.node biome
CLIENT := $(addprefix chat/static/chat/,client.js client.d.ts use-chat.js use-chat.d.ts push.js push.d.ts types.d.ts)
STATIC_FILES := $(shell find accounts chat notices qader -path '*/static/*' -type f)

.PHONY: help install run serve test prove trace check format generate bench lock

help: ## List the commands.
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 10

install: staticfiles/staticfiles.json ## Make .venv with the locked requirements and collect the static files.

run: export DEBUG := 1
run: export DATABASE_URL :=
run: export REDIS_URL :=
run: export SECURE_SSL := 0
run: install ## Serve http://127.0.0.1:8000/ (PORT=) for development, with demo data, on SQLite.
	@$(BIN)/python manage.py migrate --verbosity 0
	@$(BIN)/python manage.py seed_demo
	@exec $(BIN)/python -m qader.serve --host $(HOST) --port $(PORT) --server $(SERVER)

serve: $(if $(wildcard $(BIN)/python),,install) ## The production server: PORT=, HOST=, SERVER=daphne or uvicorn, the rest from the environment.
	@exec $(BIN)/python -m qader.serve --host $(HOST) --port $(PORT) --server $(SERVER)

test: install $(VENV)/.dev $(JS) ## Run the tests; FAST=1 leaves out tests/e2e and PostgreSQL, SLOW=1 adds the slow ones, ARGS= goes on to pytest.
	@FAST=$(FAST) SLOW=$(SLOW) $(BIN)/python -m tests $(ARGS)

prove: install $(VENV)/.dev ## The proofs of the promises, each with its seed, counts and time; SEED= repeats one, SECONDS= is how long all faults at once last.
	@$(BIN)/python -m tests.prove

trace: install $(VENV)/.dev ## Send one message through the running application and print the functions it passes.
	@$(BIN)/python -m tests.trace_message

check: install $(VENV)/.dev $(JS) ## Formatters and linters (Python, JavaScript, CSS), types, import directions, translations, missing migrations, deployment settings.
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIOME) check --error-on-warnings .
	@echo mypy
	@$(PRODUCTION) $(BIN)/mypy
	$(BIN)/lint-imports
	@echo bandit
	@$(BIN)/bandit --quiet --recursive --configfile pyproject.toml qader notices accounts chat manage.py
	@echo pip check
	@$(BIN)/python -m pip --disable-pip-version-check check
	@echo manage.py generate --check
	@$(PRODUCTION) $(BIN)/python manage.py generate --check
	@echo manage.py translations --check
	@$(PRODUCTION) $(BIN)/python manage.py translations --check
	@echo manage.py makemigrations --check
	@$(PRODUCTION) $(BIN)/python manage.py makemigrations --check
	@echo manage.py check --deploy
	@$(PRODUCTION) $(BIN)/python manage.py check --deploy --fail-level WARNING

format: $(VENV)/.dev $(JS) ## Format Python with ruff; JavaScript, TypeScript and CSS with Biome.
	$(BIN)/ruff format --quiet .
	$(BIOME) format --write .

generate: install $(VENV)/.dev ## Write what is made from the code: the TypeScript types of the wire, the example's copy of the client, what is to be translated.
	@$(PRODUCTION) $(BIN)/python manage.py generate
	@cp $(CLIENT) examples/nextjs/lib/qader/
	@$(PRODUCTION) $(BIN)/python manage.py translations

bench: install $(VENV)/.dev ## Measure, and print tables: ARGS="growth storm" only these, QUICK=1, ROUNDS=, PEERS=1.
	@QUICK=$(QUICK) ROUNDS=$(ROUNDS) PEERS=$(PEERS) $(BIN)/python -m bench $(ARGS)

lock: export CUSTOM_COMPILE_COMMAND := make lock
lock: $(VENV)/.dev ## Pin requirements*.in with hashes; ARGS="--upgrade-package django" for a newer one.
	$(BIN)/pip-compile $(LOCK) --output-file requirements.txt requirements.in $(ARGS)
	$(BIN)/pip-compile $(LOCK) --output-file requirements-dev.txt requirements-dev.in $(ARGS)
LOCK := --quiet --generate-hashes --strip-extras --allow-unsafe \
	--no-emit-index-url --no-emit-trusted-host --no-emit-find-links

# 3.11 first: the locks were made with it.
$(BIN)/python:
	@for python in $(PYTHON) python3.11 python3.12 python3.13 python3.14 python3; do \
		if $$python -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
			exec $$python -m venv $(VENV); \
		fi; \
	done; echo 'Python 3.11 or newer with its venv module is needed; name it: make PYTHON=...' >&2; exit 1

$(VENV)/.installed: requirements.txt | $(BIN)/python
	$(PIP) requirements.txt
	@touch $@

$(VENV)/.dev: requirements-dev.txt $(VENV)/.installed
	$(PIP) requirements-dev.txt
	@touch $@

$(JS): tests/js/package-lock.json $(VENV)/.dev
	@$(BIN)/python -m tests.node
	@touch $@

staticfiles/staticfiles.json: $(VENV)/.installed $(STATIC_FILES)
	@$(PRODUCTION) $(BIN)/python manage.py collectstatic --noinput --verbosity 0
	@touch $@
