"""Energy from what a device shows in its files; nothing invented where it shows nothing."""

from __future__ import annotations

import os
import tempfile
import time
from pathlib import Path

import pytest

from edge.evaluation import power
from edge.evaluation.power import metered


@pytest.fixture(autouse=True)
def bare_machine(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(power, "POWERCAP", tmp_path / "powercap")
    monkeypatch.setattr(power, "HWMON", tmp_path / "hwmon")


def package(name: str, microjoules: int) -> Path:
    file = power.POWERCAP / name / "energy_uj"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"{microjoules}\n")
    return file


def test_processors_are_added_up_and_their_parts_are_not() -> None:
    files = [package("intel-rapl:0", 5_000_000), package("intel-rapl:1", 1_000_000)]
    part = package("intel-rapl:0:0", 1)
    with metered(gpu=False) as energy:
        files[0].write_text("7000000")
        files[1].write_text("1500000")
        part.write_text("900000000")
        time.sleep(0.01)
    assert energy.joules == 2.5
    assert energy.watts == pytest.approx(2.5 / energy.seconds)
    assert "RAPL" in energy.source


def test_a_counter_that_went_round_gives_no_energy() -> None:
    file = package("intel-rapl:0", 5_000_000)
    with metered(gpu=False) as energy:
        file.write_text("17")
    assert (energy.joules, energy.watts) == (None, None)
    assert "not readable" in energy.source


def test_a_machine_without_a_counter_says_so() -> None:
    for gpu in (False, True):
        with metered(gpu=gpu) as energy:
            pass
        if energy.joules is None:
            assert energy.source.startswith("not readable")
        assert energy.seconds > 0


@pytest.mark.skipif(os.geteuid() != 0, reason="it changes its user")
def test_a_counter_for_root_alone_says_so(monkeypatch) -> None:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        monkeypatch.setattr(power, "POWERCAP", Path(folder))
        package("intel-rapl:0", 5).chmod(0o400)
        os.seteuid(65534)
        try:
            with metered(gpu=False) as energy:
                pass
        finally:
            os.seteuid(0)
    assert energy.joules is None
    assert "root" in energy.source


def test_a_jetsons_input_is_sampled() -> None:
    folder = power.HWMON / "hwmon3"
    folder.mkdir(parents=True)
    for name, text in (
        ("in1_label", "VDD_IN\n"),
        ("in1_input", "5000\n"),
        ("curr1_input", "1200\n"),
        ("in2_label", "VDD_SOC\n"),
        ("in2_input", "9000\n"),
        ("curr2_input", "9000\n"),
    ):
        (folder / name).write_text(text)
    with metered(gpu=True) as energy:
        time.sleep(0.1)
    assert energy.watts == pytest.approx(6.0, rel=0.05)
    assert "VDD_IN" in energy.source


def test_the_blocks_own_error_comes_out() -> None:
    with pytest.raises(KeyError), metered(gpu=False):
        raise KeyError
