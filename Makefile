# make workbook   execute every notebook into build/, as notebooks and as HTML with an index. On another recogniser and other pairs:
#                 make workbook CHOICE=mine.py, a file that defines model and pairs (notebook 9)
# make test       unit tests, then nbval over the notebooks
# make lab        open the notebooks in JupyterLab
# make bench      speed and memory, as a table
# make results    the kept tables of frequency, the sweep over ORL, deletion and insertion anew (hours; goes on where it was interrupted). For LFW too:
#                 make results LFW=folder WEIGHTS=mobilefacenet.pt
# make notebooks  execute the notebooks in place, for committing
# make clean      remove everything that was made, .venv included
# Each works on a fresh clone; PYTHON=python3.12 chooses another interpreter.

PYTHON ?= python3
BIN = .venv/bin
READY = .venv/ready

# glibc would give the memory of every batch back to the system and take it anew, a page fault per 4 KB; kept, batches run up to a tenth faster.
export MALLOC_MMAP_MAX_ = 0
export MALLOC_TRIM_THRESHOLD_ = 1073741824

.PHONY: workbook test lab bench results notebooks clean

workbook: $(READY)
	$(BIN)/python notebooks/build.py $(if $(CHOICE),--choice $(CHOICE))

test: $(READY)
	$(BIN)/python -m pytest -n 2 --dist loadfile
	$(BIN)/python -m pytest --nbval --nbval-current-env --nbval-sanitize-with tests/nbval.cfg -p no:cacheprovider notebooks

lab: $(READY)
	$(BIN)/jupyter lab notebooks

bench: $(READY)
	$(BIN)/python bench/bench.py

results: $(READY)
	$(BIN)/python data/make_frequency.py orl
	$(if $(LFW),$(BIN)/python data/make_frequency.py lfw --lfw $(LFW) --weights $(WEIGHTS))
	$(BIN)/python data/make_orl_sweep.py
	$(BIN)/python data/make_results.py orl
	$(if $(LFW),$(BIN)/python data/make_results.py lfw --lfw $(LFW) --weights $(WEIGHTS))

notebooks: $(READY)
	$(BIN)/python notebooks/build.py --in-place

clean:
	rm -rf .venv build data/cache xfvlib.egg-info

# An environment whose installation was interrupted is made anew: .venv/installing was left behind.
$(READY): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, " + sys.version.split()[0] + " was found: make PYTHON=python3.11 …")'
	@if [ -e .venv/installing ] || [ ! -x $(BIN)/python ]; then echo "Making .venv"; rm -rf .venv; $(PYTHON) -m venv .venv; fi
	@touch .venv/installing
	@echo "Installing the pinned packages (a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@rm .venv/installing && touch $(READY)
