"""Shared by all tests: a small drawn data set, and the real data."""

from __future__ import annotations

import gc
import os
from collections import Counter
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import HealthCheck, Phase, settings

if "PYTEST_XDIST_WORKER" in os.environ:  # one core each: threads of one would wait for another's
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    gc.disable()  # until all tests are read: half a million objects, none of which goes

# Of many tests at once a failure is told as it was found: to shrink it takes up to five minutes,
# which is a single test's whole time. The line that is printed repeats it; run alone, it shrinks.
# And of many tests at once the examples are the same each time, so that a failure is the change's;
# run alone, or under soak, they are new ones.
settings.register_profile(
    "many",
    phases=(Phase.explicit, Phase.generate, Phase.target),
    print_blob=True,
    derandomize=True,
    deadline=None,  # nor is it the test's fault that others take its core
    suppress_health_check=[HealthCheck.too_slow],
)
if "PYTEST_XDIST_WORKER" in os.environ:
    settings.load_profile("many")

SIZE = 128  # px: the smallest at which the coarsest stage still has a few dozen patches
REAL_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"

HERE = Path(__file__).parent
NEEDS = {  # what cannot even be read without a module of an extra; other tests skip by themselves
    HERE / "calibrate/backbones/test_export.py": "torch",
    HERE / "cameras/decoding/test_attack.py": "tifffile",
    HERE / "cameras/decoding/test_tiff_tags.py": "tifffile",
    HERE / "cameras/decoding/test_variants.py": "tifffile",
    HERE / "edge/plc/modbus": "pymodbus",
    HERE / "edge/plc/mqtt": "paho",
    HERE / "edge/plc/opcua": "asyncua",
    HERE / "edge/service/test_http_server.py": "prometheus_client",
    HERE / "edge/studio": "starlette",
    HERE / "engines/cpu/test_engines.py": "openvino",
    HERE / "engines/gpu/test_kernels.py": "cuda",
    HERE / "soak/test_studio.py": "starlette",
    HERE / "test_dead_code.py": "vulture",
}
LEFT_OUT = {path: module for path, module in NEEDS.items() if find_spec(module) is None}


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out what needs an extra that is not installed; the header says what."""
    return True if collection_path in LEFT_OUT else None


def pytest_xdist_auto_num_workers() -> int:
    """One more than there are cores: many tests wait for what happens in real time."""
    return (os.cpu_count() or 1) + 1


def pytest_report_header() -> list[str]:
    """Say which tests are left out, and for want of which module."""
    return [
        f"left out: {path.relative_to(HERE.parent)}: {module} is not installed"
        for path, module in LEFT_OUT.items()
    ]


def pytest_configure(config: pytest.Config) -> None:
    """Leave the order of files to us: xdist would put those with the fewest tests last."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


LONGEST = (  # files of ten seconds and more
    "edge/building/test_figures_of_models.py",
    "edge/building/test_figures.py",
    "cameras/capture/test_source.py",
    "edge/building/test_build.py",
    "edge/building/test_precision_gate.py",
    "edge/service/test_page_browser.py",
    "edge/building/test_prn.py",
    "edge/cli/test_main.py",
    "edge/health/test_frozen.py",
    "calibrate/prn/test_training.py",
    "edge/plc/test_serve.py",
    "edge/inspection/test_inspector_start.py",
    "cameras/capture/test_live.py",
    "edge/demo/test_demo.py",
    "edge/teaching/test_teach.py",
    "edge/stream/test_leaks.py",
    "edge/building/test_learning_engines.py",
    "calibrate/prn/graph/test_export.py",
    "calibrate/test_plans.py",
    "edge/service/test_operation.py",
    "edge/service/test_page_stream.py",
)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files that take long first, then those with many tests: nobody waits for the last."""
    count = Counter(item.path for item in items)
    first = {HERE / name: rank for rank, name in enumerate(LONGEST)}
    items.sort(key=lambda item: (first.get(item.path, len(first)), -count[item.path]))


def pytest_collection_finish() -> None:
    """Collect again, but not what is there by now."""
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    """Libraries that count what they made want all of it back at the end."""
    gc.unfreeze()


@pytest.fixture(scope="module", autouse=True)
def collections_of_what_a_file_leaves() -> None:
    """Not of all that was loaded before it, which takes half a second each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A drawn data set in MVTec's layout: 10 good, 2 more, one of each defect; 128 px.

    Read-only: copy what you change.
    """
    from edge.demo import draw_dataset

    folder = tmp_path_factory.mktemp("drawn")
    draw_dataset(folder, good=10, test_good=2, defects_each=1, size=SIZE)
    return folder


@pytest.fixture(scope="session")
def realdata() -> Path:
    """The development data beside the checkout; mark what needs it `realdata`."""
    if not REAL_DATA.is_dir():
        pytest.skip(f"no development data in {REAL_DATA.parent.name}/{REAL_DATA.name}")
    return REAL_DATA
