# `just` lists the recipes. They use .venv if it is there, else what is on the PATH.
export PATH := justfile_directory() / ".venv/bin" + ":" + env("PATH")

_default:
    @just --list --unsorted

# a virtual environment with everything for development
install:
    python3 -m venv .venv
    .venv/bin/pip install -e '.[dev]'

# the tests; arguments go to pytest
test *args:
    pytest -n auto --dist loadfile {{ args }}

# what needs an NVIDIA GPU: the tests, then the proof that it works, as a table; under 15 minutes
test-gpu *args:
    pytest -m gpu {{ args }}; tests=$?; edge doctor --prove && exit $tests

# style, types, direction of imports
lint:
    ruff check .
    ruff format --check .
    mypy
    lint-imports

# the drawn production line: build/demo
demo:
    edge demo

# reference pictures and help texts of the tests, made anew; look at the difference before committing it
golden:
    GOLDEN=write pytest tests/edge/drawing/test_overlay.py tests/edge/cli/test_help.py

# the bundled backbone, trained anew (hours, needs images; see docs/backbone.md)
backbone *args:
    python scripts/train_backbone.py {{ args }}

# the timing diagram and error codes of docs/plc.md and the tables of docs/modbus.md, made anew
plc-docs:
    python scripts/plc_timing.py
    python scripts/plc_modbus_tables.py docs/modbus.md docs/plc.md

# docs/edge_toml.md, written from the models of the options
edge-toml:
    python scripts/edge_toml_page.py

# docs/api.md, written from the docstrings
api:
    python scripts/api_page.py

# how fast a bundle is here
bench bundle="build/demo/flange.edge":
    edge bench {{ bundle }}

# ratios of rates, on a machine that does nothing else
benchmark *args:
    pytest -m benchmark tests/benchmarks {{ args }}

# what takes minutes to hours: months in a camera's life, in short; arguments go to pytest
soak *args:
    pytest -m soak --timeout 0 {{ args }}

# everything that a change must pass, in a fresh environment
ci *args:
    .ci/run {{ args }}
