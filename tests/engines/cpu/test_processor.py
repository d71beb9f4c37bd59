"""How much of the processor this process may use: cores, affinity, quotas."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from engines.cpu import openvino_compile, processor


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


@pytest.mark.parametrize(
    ("files", "own", "granted"),
    [
        ({}, "", None),
        ({"cpu.max": "max 100000\n"}, "0::/\n", None),
        ({"cpu.max": "150000 100000\n"}, "0::/\n", 1.5),
        ({"cpu.max": "200000 100000"}, "0::/../outside\n", 2.0),
        (
            {"a/cpu.max": "400000 100000", "a/b/cpu.max": "max 100000", "cpu.max": "max 1"},
            "0::/a/b\n",
            4.0,
        ),
        ({"a/cpu.max": "100000 100000", "a/b/cpu.max": "300000 100000"}, "0::/a/b\n", 1.0),
        ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, "1:cpu:/\n", None),
        (
            {"cpu/box/cpu.cfs_quota_us": "50000\n", "cpu/box/cpu.cfs_period_us": "100000\n"},
            "4:cpu,cpuacct:/box\n0::/\n",
            0.5,
        ),
        ({"cpu.max": "rubbish"}, "0::/\n", None),
        ({"cpu.max": "100000 0"}, "0::/\n", None),
    ],
)
def test_a_control_groups_grant(files, own, granted, tmp_path) -> None:
    for name, text in files.items():
        write(tmp_path / "groups" / name, text)
    write(tmp_path / "own", own)
    assert processor.granted_cpus(tmp_path / "groups", tmp_path / "own") == granted


def test_two_threads_of_a_core_are_one_core(tmp_path, monkeypatch) -> None:
    for number, siblings in enumerate(("0,4", "1,5", "2,6", "3,7", "0,4", "1,5", "2,6", "3,7")):
        write(tmp_path / f"cpu{number}" / "topology" / "thread_siblings_list", siblings + "\n")
    for allowed, cores in ((range(8), 4), ((0, 4), 1), ((1, 2, 5), 2), ((0, 9), 2)):
        monkeypatch.setattr(processor, "_affinity", lambda allowed=allowed: set(allowed))
        assert processor.physical_cores(tmp_path) == cores


@pytest.mark.parametrize(
    ("granted", "cores", "usable"),
    [(None, 6, 6), (2.0, 6, 2), (1.5, 6, 2), (0.2, 6, 1), (9.0, 4, 4)],
)
def test_usable_is_the_smaller(granted, cores, usable, monkeypatch) -> None:
    monkeypatch.setattr(processor, "granted_cpus", lambda: granted)
    monkeypatch.setattr(processor, "physical_cores", lambda: cores)
    assert processor.usable_cores() == usable


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="Linux alone has affinities")
def test_this_machine() -> None:
    assert 1 <= processor.usable_cores() <= len(os.sched_getaffinity(0))


def test_under_a_quota_threads_are_counted_and_not_pinned(monkeypatch) -> None:
    monkeypatch.setattr(openvino_compile, "usable_cores", lambda: 3)
    monkeypatch.setattr(openvino_compile, "granted_cpus", lambda: 2.5)
    limited = openvino_compile.plugin_config(None, mode="throughput")
    assert limited["INFERENCE_NUM_THREADS"] == limited["NUM_STREAMS"] == "3"
    assert limited["ENABLE_CPU_PINNING"] == "NO"
    monkeypatch.setattr(openvino_compile, "granted_cpus", lambda: None)
    free = openvino_compile.plugin_config(None, mode="latency")
    assert "INFERENCE_NUM_THREADS" not in free  # the plugin knows fast cores from slow ones
    assert (free["ENABLE_CPU_PINNING"], free["NUM_STREAMS"]) == ("YES", "1")
    assert openvino_compile.plugin_config(2, mode="latency")["INFERENCE_NUM_THREADS"] == "2"
