"""What `--help` prints for every command, word for word; `just golden` writes it anew."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from edge.cli.commands import COMMANDS

GOLDEN = Path(__file__).resolve().parents[2] / "golden" / "help"
SUBCOMMANDS = (
    ("backbone", "export"),
    ("plc", "map"),
    ("plc", "simulate"),
    *(("review", one) for one in ("parts", "hours", "shadow", "try", "mark", "dataset")),
)
WORDS = ((), *((name,) for name in COMMANDS), *SUBCOMMANDS)


def golden_file(words: tuple[str, ...]) -> Path:
    return GOLDEN / f"{'_'.join(('edge', *words))}.txt"


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_the_help_is_as_it_was(run, monkeypatch, words) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("_TYPER_FORCE_DISABLE_TERMINAL", "1")
    outcome = run(*words, "--help")
    assert outcome.code == 0
    if os.environ.get("GOLDEN") == "write":
        golden_file(words).write_text(outcome.out, encoding="utf-8")
    assert outcome.out == golden_file(words).read_text(encoding="utf-8")


def test_there_is_no_help_of_a_command_that_is_gone() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {golden_file(words).name for words in WORDS}


@pytest.mark.parametrize("words", WORDS, ids=" ".join)
def test_every_line_of_the_help_is_a_sentence(words) -> None:
    text = golden_file(words).read_text(encoding="utf-8")
    table = re.split(r"^(?:Arguments|Options|Commands):\n", text, flags=re.MULTILINE)[1:]
    for entry in re.split(r"\n(?=  \S)", "\n".join(table)):
        says = re.sub(r"\s+", " ", re.sub(r"^  (\S+ ?)+(  |\n)", "", entry)).strip()
        says = re.sub(r"(?:\s+\[[^\]]*\])+$", "", says)
        assert re.fullmatch(r"[A-Z].*\.", says) or not says, entry
