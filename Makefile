# Each target sets up what it needs; a second run starts at once. Stamp files in .venv say what has been set up.
SHELL := /bin/bash
BIN := .venv/bin
SETUP := pyproject.toml requirements.lock packaging/setup.sh
TEST_WEIGHTS := smollm2-135m-instruct efficientnet-lite0 whisper-tiny.en piper-joe

.PHONY: help demo test lint bench lock clean
.DELETE_ON_ERROR:

help:
	@echo "make demo    set up, fetch the default weights, narrate the bundled clip aloud"
	@echo "make test    set up the test extras, run every test"
	@echo "make lint    ruff and pyright"
	@echo "make bench   speed and memory on the bundled clip"
	@echo "make lock    write requirements.lock anew, from a clean environment"
	@echo "make clean   remove .venv and out"

.venv/.ready-run: $(SETUP)
	packaging/setup.sh
	@touch $@

.venv/.ready-test: $(SETUP)
	packaging/setup.sh test train
	@touch $@ .venv/.ready-run

.venv/.ready-lint: $(SETUP)
	packaging/setup.sh lint test train
	@touch $@ .venv/.ready-test .venv/.ready-run

demo: .venv/.ready-run
	$(BIN)/onlooker model pull default
	$(BIN)/onlooker watch demo --say

test: .venv/.ready-test
	@set -e; for name in $(TEST_WEIGHTS); do $(BIN)/onlooker model pull $$name; done
	$(BIN)/python -m pytest --cov --cov-report=term --durations=10

lint: .venv/.ready-lint
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright
	$(BIN)/python packaging/architecture.py --check

bench: .venv/.ready-run
	$(BIN)/onlooker model pull default
	$(BIN)/onlooker watch demo --max-speed --no-say --json | tail -n 1

lock:
	rm -rf out/lock-venv
	python3 -m venv out/lock-venv
	out/lock-venv/bin/pip install --editable ".[train,test,lint]"
	out/lock-venv/bin/python packaging/make_lock.py > requirements.lock.new
	mv requirements.lock.new requirements.lock
	rm -rf out/lock-venv

clean:
	rm -rf .venv out
