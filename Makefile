# Everything starts from here: `make demo`, `make test`. Only Python (3.11 or newer) and make are needed.
PYTHON ?= python3
VENV := .venv
PY := $(VENV)/bin/python
# Two test processes with two threads each would wait for each other in busy loops.
ONE_THREAD := OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1

.PHONY: setup demo test validate studies malformed kills mutants bench lint docs clean

setup: $(VENV)/.ready

# torch is asked for by itself first: with a version fixed, pip takes the build this machine offers.
$(VENV)/.ready: pyproject.toml constraints.txt
	test -x $(PY) || $(PYTHON) -m venv $(VENV)
	$(PY) -m pip install --quiet --disable-pip-version-check torch==2.13.0 -c constraints.txt
	$(PY) -m pip install --quiet --disable-pip-version-check -e ".[test]" -c constraints.txt
	touch $@

demo: setup
	$(PY) -m experiments demo --out demo

test: setup lint
	$(ONE_THREAD) $(PY) -m pytest -n 2

validate: setup
	$(ONE_THREAD) $(PY) -m pytest -m validate --full-draws

# Some hours of draws; they may be stopped at any time, and go on from build/studies.jsonl.
studies: setup
	$(ONE_THREAD) PYTHONPATH=. $(PY) tests/analysis/direction/studies.py shapes directions coverage nulls

# A thousand damaged run folders and as many recordings; a hundred commands that are killed at random moments.
malformed: setup
	$(ONE_THREAD) $(PY) -m pytest tests/test_malformed.py --full-draws

kills: setup
	$(ONE_THREAD) PYTHONPATH=. $(PY) tests/kills.py --kills 100

# Small errors planted in what holds formulas; PIECE names one of the pieces of tests/mutants.py, each an hour at most.
mutants: setup
	$(ONE_THREAD) $(PY) tests/mutants.py $(PIECE)

bench: setup
	$(PY) -m wavefield bench
	$(PY) -m experiments bench

lint: setup
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(VENV)/bin/codespell wavefield wavefield_torch analysis experiments tests docs *.md
	$(PY) -m mypy

# Tutorials are run, docstrings are read; warnings are errors. The site is docs/_build/html/index.html.
docs: setup
	$(PY) -m pip install --quiet --disable-pip-version-check -e ".[docs]" -c constraints.txt
	$(ONE_THREAD) $(PY) -m sphinx -b html -n -W --keep-going docs docs/_build/html

clean:
	rm -rf $(VENV) demo build *.egg-info docs/_build docs/_generated docs/learn docs/api/generated
