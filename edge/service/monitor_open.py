"""The monitor as `edge.toml` and the command line have it."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from importlib.util import find_spec

from edge.config import LifeSection
from edge.service.http_routes import Pictures
from edge.service.http_server import Access, Exposition, Monitor, Report

Say = Callable[[str], None]


@contextlib.contextmanager
def opened_monitor(
    section: LifeSection,
    report: Report,
    *,
    address: str | None,
    pictures: Pictures | None,
    say: Say,
) -> Iterator[None]:
    """Listen while the block runs, if an address is given.

    Args:
        section: who may read.
        report: what is known, with ``ready``.
        address: where, in place of `life.monitor`.
        pictures: of the cameras; None: there is no page.
        say: is told where it listens, and what it lacks.

    Raises:
        MonitorError: see `Monitor`.
    """
    address = address or section.monitor
    if address is None:
        yield
        return
    access = Access(section.monitor_token, section.monitor_hosts)
    with Monitor(
        address, report, expose=_exposition(say), pictures=pictures, access=access
    ) as opened:
        page = "" if pictures is None else "the page, "
        say(f"http://{opened.host}:{opened.port}: {page}/healthz and /metrics")
        yield


def _exposition(say: Say) -> Exposition | None:
    if find_spec("prometheus_client") is None:
        say("no /metrics: pip install 'protoedge[metrics]'")
        return None
    from edge.service.metrics import metrics_from_report

    return metrics_from_report
