# make workbook   execute every notebook into build/, as notebooks and as one site with a glossary and the API reference: open build/index.html
#                 On another recogniser and other pairs: make workbook CHOICE=mine.py, a file that defines model and pairs (notebook 9)
# make test       lint, format, types, unit tests with the examples of the docstrings, then nbval over the notebooks
# make test-portable
#                 unit tests of what computes as on a processor without AVX-512, and nbval as there and with one thread
# make test-browser
#                 what readers click, in Debian's chromium (package chromium); installs playwright into .venv
# make check      lint, format and types only
# make lab        open the notebooks in JupyterLab, whose controls then take photographs of any usual size
# make app        two photographs, the decision and its maps on a page of this machine; HOST=address lets others of the network use it
# make bench      speed and memory, as a table
# make campaign   thousands of odd inputs, and what became of each
# make results    the kept tables of frequency, interaction, the sweep over ORL, deletion and insertion anew (hours; goes on where it was interrupted). For LFW too:
#                 make results LFW=folder WEIGHTS=mobilefacenet.pt
# make notebooks  execute the notebooks in place, for committing
# make clean      remove everything that was made, .venv included
# Each works on a fresh clone, with Python 3.11, 3.12 or 3.13; PYTHON=python3.12 chooses an interpreter.

PYTHON ?= python3
BIN = .venv/bin
READY = .venv/ready
HOST =  # of the command line alone: some shells export one

# glibc would give the memory of every batch back to the system and take it anew, a page fault per 4 KB; kept, batches run up to a tenth faster.
export MALLOC_MMAP_MAX_ = 0
export MALLOC_TRIM_THRESHOLD_ = 1073741824

UNIT = $(BIN)/python -m pytest -n 2 --dist loadfile --ignore-glob='*/test_browser*.py'
NBVAL = $(BIN)/python -m pytest --nbval --nbval-current-env --nbval-sanitize-with tests/nbval.cfg -p no:cacheprovider notebooks/*.ipynb
AVX2 = ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2

.PHONY: workbook check test test-portable test-browser lab app bench campaign results notebooks clean

workbook: $(READY)
	$(BIN)/python notebooks/build.py $(if $(CHOICE),--choice $(CHOICE))

check: $(READY)
	$(BIN)/ruff check --quiet .
	$(BIN)/ruff format --check --quiet .
	$(BIN)/mypy

test: check
	$(UNIT)
	$(NBVAL) notebooks/solutions/*.ipynb

test-portable: $(READY)
	$(AVX2) $(UNIT) $(addprefix --ignore=tests/test_,app.py project.py wheel.py widgets.py)
	$(AVX2) OMP_NUM_THREADS=1 $(NBVAL) -n 2 --dist loadfile

test-browser: $(READY)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check playwright
	$(BIN)/python -m pytest tests/test_browser*.py

lab: $(READY)
	$(BIN)/jupyter lab notebooks --ServerApp.tornado_settings='{"websocket_max_message_size": 200000000}'

app: $(READY)
	$(BIN)/python -m xfvlib.app $(if $(HOST),--host $(HOST))

bench: $(READY)
	$(BIN)/python bench/bench.py

campaign: $(READY)
	$(BIN)/python bench/campaign.py

results: $(READY)
	$(BIN)/python data/make_frequency.py orl
	$(if $(LFW),$(BIN)/python data/make_frequency.py lfw --lfw $(LFW) --weights $(WEIGHTS))
	$(BIN)/python data/make_interaction.py orl
	$(BIN)/python data/make_interaction.py dlib
	$(if $(LFW),$(BIN)/python data/make_interaction.py lfw --lfw $(LFW) --weights $(WEIGHTS))
	$(BIN)/python data/make_orl_sweep.py
	$(BIN)/python data/make_results.py orl
	$(if $(LFW),$(BIN)/python data/make_results.py lfw --lfw $(LFW) --weights $(WEIGHTS))

notebooks: $(READY)
	$(BIN)/python notebooks/build.py --in-place

clean:
	rm -rf .venv build data/cache xfvlib.egg-info .mypy_cache .pytest_cache .ruff_cache

# An environment whose installation was interrupted is made anew: .venv/installing was left behind.
$(READY): requirements.lock pyproject.toml setup.py
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13) and "Python 3.11, 3.12 or 3.13 is needed, " + sys.version.split()[0] + " was found: make PYTHON=python3.11 …")'
	@if [ -e .venv/installing ] || [ ! -x $(BIN)/python ]; then echo "Making .venv"; rm -rf .venv; $(PYTHON) -m venv .venv; fi
	@touch .venv/installing
	@echo "Installing the pinned packages (a few minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
	@rm .venv/installing && touch $(READY)
