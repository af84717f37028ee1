PYTHON ?= python3
VENV := .venv
RUN := $(VENV)/bin/python
INSTALL := $(RUN) -m pip install --disable-pip-version-check
PYTEST := $(RUN) -m pytest -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder

# what a step that failed had begun is not taken for done
.DELETE_ON_ERROR:
.PHONY: demo flickr8k test test-fast lint clean

demo: $(VENV)/.installed
	$(RUN) 5_test.py --model Pre-trained/model-ensemble.keras --beside Pre-trained/simclr/model-without-labels.keras --output captions.html captions.png

# the data set that the scripts take without arguments, into data/: 1.1 GB to fetch
flickr8k: $(VENV)/.installed
	$(RUN) -m tools.fetch_flickr8k

test: $(VENV)/.installed-dev
	$(PYTEST)

# for the daily round: without the tests that are marked slow
test-fast: $(VENV)/.installed-dev
	$(PYTEST) -m "not slow"

lint: $(VENV)/.installed-dev
	$(VENV)/bin/ruff check .
	$(VENV)/bin/ruff format --check .
	$(VENV)/bin/lint-imports

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; (3, 10) <= sys.version_info < (3, 14) or sys.exit("Python 3.10 to 3.13 is needed, and this is %d.%d: make PYTHON=/path/to/python" % sys.version_info[:2])'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: requirements.txt | $(VENV)/bin/python
	@echo "Installing TensorFlow, Keras and what they need into $(VENV): 2.3 GB on disk. This takes some minutes."
	$(INSTALL) -r requirements.txt
	touch $@

$(VENV)/.installed-dev: requirements.txt requirements-evaluate.txt requirements-dev.txt | $(VENV)/bin/python
	@echo "Installing TensorFlow, JAX, PyTorch and the test tools into $(VENV): 4 GB on disk, more where PyTorch comes with CUDA. This takes some minutes."
	$(INSTALL) --quiet -r requirements-dev.txt
	touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV)
