"""The pages say what is so: commands parse, TOML validates, links lead somewhere, signs exist."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import Any

import pytest
import typer
from packages import PACKAGES, ROOT

PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
INLINE = re.compile(r"`(edge [a-z][^`]*)`")
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


def commands_of(page: Path) -> list[str]:
    """Every line of a block that begins with `edge`, without its remark, pipe and redirection."""
    lines = []
    for _, block in FENCE.findall(text_of(page)):
        for line in block.replace("\\\n", " ").splitlines():
            found = re.match(r"(?:\$ |.*/)?(edge (?! )[^#|>─]*)", line)
            if found:
                lines.append(found[1].strip())
    return lines


def command_of(words: list[str]) -> tuple[Any, Any, list[str]]:
    """The command that words name, its context, and what is left of them."""
    from edge.cli.commands import app

    command: Any = typer.main.get_command(app)
    context = command.context_class(command, info_name="edge")
    while hasattr(command, "resolve_command"):
        name, command, words = command.resolve_command(context, words)
        context = command.context_class(command, info_name=name, parent=context)
    return command, context, words


COMMANDS = [(page.name, line) for page in PAGES for line in commands_of(page)]
INLINES = sorted({line for page in PAGES for line in INLINE.findall(text_of(page))})
TOMLS = [
    (page.name, block) for page in PAGES for kind, block in FENCE.findall(text_of(page))
    if kind == "toml"
]  # fmt: skip


def test_there_is_something_to_check() -> None:
    assert len(COMMANDS) > 20
    assert len(INLINES) > 20
    assert len(TOMLS) > 5


@pytest.mark.parametrize(("page", "line"), COMMANDS)
def test_a_command_of_a_page_parses(page: str, line: str) -> None:
    command, context, words = command_of(shlex.split(line)[1:])
    with context.scope(cleanup=False):
        command.parse_args(context, words)


@pytest.mark.parametrize("line", INLINES)
def test_options_named_in_a_sentence_exist(line: str) -> None:
    command, context, words = command_of(
        [word for word in line.replace("…", "").split()[1:] if word]
    )
    known = {name for parameter in command.get_params(context) for name in parameter.opts}
    known |= {
        name for parameter in command.get_params(context) for name in parameter.secondary_opts
    }
    options = {word.partition("=")[0] for word in words if word.startswith("--")}
    assert options <= known


@pytest.mark.parametrize(("page", "block"), TOMLS)
def test_a_toml_block_of_a_page_validates(page: str, block: str, tmp_path: Path) -> None:
    pytest.importorskip("pymodbus", reason="the bridges check their own sections")
    from edge.config import read_config
    from edge.plc.serve import section_of

    (tmp_path / "edge.toml").write_text(block, encoding="utf-8")
    config = read_config(tmp_path / "edge.toml")
    for name in ("modbus", "opcua", "mqtt"):
        if getattr(config, name):
            section_of(name, config)


def anchors_of(page: Path) -> set[str]:
    """Anchors of a page's headings, as GitHub makes them."""
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")
        for heading in HEADING.findall(text_of(page))
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", text_of(page)):
        if "://" in target:
            continue
        file, _, anchor = target.partition("#")
        there = (page.parent / file) if file else page
        assert there.exists(), target
        if anchor:
            assert anchor in anchors_of(there), target


def test_the_index_names_every_page() -> None:
    index = text_of(ROOT / "docs/index.md")
    for page in (ROOT / "docs").glob("*.md"):
        assert page.name == "index.md" or f"]({page.name})" in index, page.name


def signs() -> list[str]:
    """What the first column of the tables in troubleshooting.md quotes."""
    text = text_of(ROOT / "docs/troubleshooting.md")
    rows = re.findall(r"^\| (.+?) \|", text, re.MULTILINE)
    return [sign for row in rows for sign in re.findall(r"`([^`]+)`", row)]


@pytest.mark.parametrize("sign", signs())
def test_a_sign_that_is_explained_is_one_that_the_product_gives(sign: str) -> None:
    sources = "".join(
        path.read_text(encoding="utf-8")
        for package in PACKAGES
        for path in (ROOT / package).rglob("*")
        if path.suffix in {".py", ".js", ".html"}
    )
    joined = re.sub(r'"\s*\n\s*f?"', "", sources)
    for part in sign.split("…"):
        assert part.strip() in joined, part


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_files_that_a_page_names_exist(page: Path) -> None:
    places = (*PACKAGES, "tests", "scripts", "examples", "docs")
    for name in re.findall(r"`([\w./]+/[\w./]*)`", text_of(page)):
        if name.split("/")[0] in places:
            assert (ROOT / name).exists(), name
