"""The pages and examples for programs: they run, type-check strictly, and tell what there is."""

from __future__ import annotations

import ast
import inspect
import json
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import api_page
import pytest
from packages import ROOT

import edge
from engines.bundle import Bundle

PAGES = ("README.md", "docs/api.md", "docs/python.md")
NOTEBOOK = ROOT / "examples" / "first_hour.ipynb"


def examples_of(page: str) -> list[str]:
    text = (ROOT / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


def cells() -> list[str]:
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    assert all(not cell.get("outputs") for cell in notebook["cells"]), "outputs are not kept"
    return ["".join(one["source"]) for one in notebook["cells"] if one["cell_type"] == "code"]


def test_the_page_is_the_one_of_the_docstrings() -> None:
    text = (ROOT / "docs/api.md").read_text(encoding="utf-8")
    assert text == api_page.page_text(), "run `just api`"


def test_every_argument_of_the_public_functions_is_described() -> None:
    functions = [edge.load, edge.build, edge.draw, edge.change_settings, edge.open_source]
    for kind in (edge.Inspector, edge.AsyncInspector, edge.Triggered):
        functions += [one for name, one in vars(kind).items() if name[0] != "_" and callable(one)]
    for function in functions:
        text = inspect.getdoc(function) or ""
        named = set(inspect.signature(function).parameters) - {"self"}
        described = {
            name
            for line in re.findall(r"^    (?! )([\w, ]+):", text, re.MULTILINE)
            for name in line.split(", ")
        }
        assert named <= described, f"{function.__qualname__}: {named - described}"


def test_examples_pass_mypy_strictly(tmp_path) -> None:
    """With the settings and the cache of the whole: `mypy` before leaves little to do."""
    api = pytest.importorskip("mypy.api", reason="mypy is not installed")
    for page in PAGES:
        for index, example in enumerate(examples_of(page)):
            name = re.sub(r"\W", "_", f"{page}_{index}")
            (tmp_path / f"{name}.py").write_text(example)
    (tmp_path / "notebook.py").write_text(
        "\n\n".join(re.sub(r"^result$", "print(result)", cell, flags=re.M) for cell in cells())
    )
    words = ["--config-file", ROOT / "pyproject.toml", "--cache-dir", ROOT / ".mypy_cache"]
    files = sorted(tmp_path.glob("*.py"))
    assert len(files) >= 8
    out, err, code = api.run([*map(str, [*words, *files])])
    assert code == 0, out + err


@pytest.fixture
def place(tmp_path, monkeypatch, drawn, built) -> Path:
    """A folder in which `edge demo` and `edge build` might have been run."""
    monkeypatch.chdir(tmp_path)
    shutil.copytree(drawn, tmp_path / "build/demo/images")
    shutil.copytree(built, tmp_path / "build/flange.edge")

    def build(images: Path, output: Path, **_: object) -> SimpleNamespace:
        assert Path(images).is_dir()
        bundle = Bundle.open(shutil.copytree(built, output, dirs_exist_ok=True))
        threshold = bundle.manifest.threshold
        return SimpleNamespace(bundle=bundle, threshold=threshold, seconds=0.0)

    monkeypatch.setattr(edge, "build", build, raising=False)  # what it does is for its own tests
    return tmp_path


def test_the_examples_of_the_pages_run(place, capsys) -> None:
    for page in PAGES[1:]:
        for example in examples_of(page):
            exec(compile(example, page, "exec"), {"__name__": "example"})
    assert Path("result.png").stat().st_size > 0
    out = capsys.readouterr().out
    assert re.match(r"(OK|NG) ", out) and "Result(" in out


def test_the_cells_of_the_notebook_run(place, drawn, monkeypatch, capsys) -> None:
    monkeypatch.setattr("edge.demo.draw_dataset", lambda to, **_: shutil.copytree(drawn, to))
    place_of: dict[str, object] = {}
    for cell in cells():
        exec(compile(cell, NOTEBOOK.name, "exec"), place_of)
    out = capsys.readouterr().out
    assert len(re.findall(r"false rejects, \d escapes", out)) == 5
    assert isinstance(ast.literal_eval(out.split()[-2]), float)
