# make demo         the whole experiment on this machine's CPU, with the small models that ship
# make test         every test
# make lint         formatters and checkers
# make demo-models  train the demo's two translators again (about 90 minutes on two cores)
PYTHON ?= python3
VENV := .venv
RUN := PATH="$(CURDIR)/$(VENV)/bin:$$PATH"
DEMO := $(RUN) snakemake --profile profiles/demo

.PHONY: install demo test lint demo-models clean

install: $(VENV)/.installed

$(VENV)/.installed: envs/core.txt pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "routelmt needs Python 3.11 or newer: make PYTHON=python3.11 ..."; exit 1; }
	$(PYTHON) -m venv $(VENV)
	$(VENV)/bin/pip install --quiet --disable-pip-version-check -r envs/core.txt
	$(VENV)/bin/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@touch $@

demo: install
	$(DEMO)
	$(DEMO) --report results/runs/demo/report.html --quiet
	@$(RUN) python -m routelmt summary results/runs/demo --focus routelmt --report results/runs/demo/report.html

test: install
	$(RUN) python -m pytest

lint: install
	$(RUN) ruff check workflow tests benchmarks
	$(RUN) ruff format --check workflow tests benchmarks
	$(RUN) mypy
	$(RUN) snakefmt --check Snakefile workflow

demo-models: install
	$(RUN) snakemake --snakefile workflow/demo_models.smk --cores all

clean:
	rm -rf results logs data/segments data/corpora
