"""The options of what runs for months: `[life]` and `[log]`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from edge.fields import Names, OptionsModel, option, setting
from edge.options.names import LogFormat, LogLevel


class LifeOptions(OptionsModel):
    """How a command that runs for months is watched over: `[life]`."""

    self_test_s: Annotated[float, Field(ge=0, le=86400, allow_inf_nan=False)] = setting(
        600.0, "Seconds between tests with the golden images; 0 tests at the start alone."
    )
    watch_bundles: bool = setting(True, "Take a bundle into use once it is built anew.")
    monitor: str | None = option(
        None,
        "Address, HOST:PORT, that serves the page, /healthz and /metrics.",
        example="127.0.0.1:9464",
    )
    monitor_token: Path | None = setting(
        None, "File with the token that other machines have to give.", example="monitor.token"
    )
    monitor_hosts: Names = setting(
        (),
        "Names by which others reach this machine, besides its IP address.",
        example=("line3.plant.example",),
    )


class LogOptions(OptionsModel):
    """What is logged on stderr: `[log]`."""

    format: LogFormat | None = setting(
        None, "Form of the log.", unset="plain lines", example="text"
    )
    level: LogLevel = setting("info", "Lowest level that is logged.")
