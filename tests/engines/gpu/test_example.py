"""The example runs where there is a GPU, and says what is missing where there is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from engines.cuda import gpus
from engines.errors import EngineError

EXAMPLE = Path(__file__).resolve().parents[3] / "examples" / "gpu_arrays.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, str(EXAMPLE), *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=EXAMPLE.parents[1],
    )


def test_it_says_what_is_wrong_in_one_line(tmp_path, bundle, drawn) -> None:
    missing = run(str(bundle.path), str(tmp_path / "none.png"))
    assert missing.returncode == 1
    assert "none.png" in missing.stderr.splitlines()[-1]
    picture = next(drawn.rglob("*.png"))
    no_bundle = run(str(tmp_path / "none.edge"), str(picture))
    assert no_bundle.returncode == 1
    assert no_bundle.stderr.count("\n") == 1
    assert "none.edge" in no_bundle.stderr


@pytest.mark.gpu
@pytest.mark.parametrize("library", ["pycuda", "cupy", "torch"])
def test_it_prints_a_score(tmp_path, drawn, library) -> None:
    pytest.importorskip(library)
    try:
        gpus()
    except EngineError as error:
        pytest.skip(str(error))
    from engines.choose import ENGINES

    engine = next(
        (e for e in ("tensorrt", "tensorrt-rtx") if not ENGINES[e].unavailable_reason()), None
    )
    if engine is None:
        pytest.skip("no TensorRT works here")
    bundle = tmp_path / "drawn.edge"
    built = subprocess.run(
        [
            *(sys.executable, "-c", "from edge.cli.main import main; main()", "build", str(drawn)),
            *("--output", str(bundle)),
        ],
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert built.returncode == 0, built.stderr
    done = run(str(bundle), str(next(drawn.rglob("*.png"))), "--with", library, "--engine", engine)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("score ")
