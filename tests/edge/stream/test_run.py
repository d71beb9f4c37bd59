"""The command `edge stream` as a whole: what it loads, and what it leaves alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
UNUSED = (
    *("edge.plc", "pymodbus", "asyncua", "paho"),
    *("cameras.capture", "cameras.devices", "harvesters", "genicam"),
    *("edge.building", "torch", "sklearn", "scipy", "prometheus_client"),
)
"""What no folder of images needs."""
PROGRAM = """
import json, sys
from edge.cli.main import main
try:
    main()
except SystemExit as ended:
    assert not ended.code, ended.code
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def test_a_folder_of_images_loads_no_station_and_no_camera(built, good, tmp_path) -> None:
    words = ["stream", str(good), "--bundle", str(built), "--engine", "onnxruntime"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *words, "--no-show", "--json"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PYTHONPATH": str(ROOT), "PATH": "/usr/bin:/bin"},
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["frames"] == len(list(good.iterdir()))
    loaded = json.loads(done.stderr.splitlines()[-1])
    assert "edge.stream.run" in loaded
    assert [name for name in loaded for part in UNUSED if f"{name}.".startswith(f"{part}.")] == []
