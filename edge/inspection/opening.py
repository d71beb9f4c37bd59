"""The engine of an inspector, and why it is that one."""

from __future__ import annotations

from collections.abc import Callable

from engines.bundle import Bundle
from engines.choose import choose_engine, open_engine
from engines.engine import Engine, EngineOptions
from engines.shared import EngineShare


def open_engine_of(
    bundle: Bundle,
    engine: str | Engine,
    *,
    say: Callable[[str], None] | None,
    progress: Callable[[float], None] | None,
) -> tuple[Engine, str]:
    """Open what runs a bundle's graph; say why it, and what that means for the threshold.

    Args:
        bundle: opened.
        engine: ``auto``, the name of one, or one that is open already.
        say: receives lines about what takes long.
        progress: told the share of a plan's compilation that is done.

    Raises:
        EngineError: it cannot work here.
    """
    if isinstance(engine, str):
        chosen = choose_engine(engine)
        options = EngineOptions(
            bundle.manifest.precision,
            bundle.plans,
            say=say,
            progress=progress,
            batch=bundle.manifest.max_batch,
        )
        opened = open_engine(bundle.model(), engine=chosen.address, options=options)
        reason = chosen.reason
    else:
        opened = engine
        reason = engine.shared.why if isinstance(engine, EngineShare) else ""
    reason = reason or f"{opened.name}: it was given"
    deployed = bundle.manifest.deployed_engine
    if opened.name != deployed:
        reason += (
            f"; the threshold was set by {deployed}, whose scores differ a little: build again "
            "here to be exact"
        )
    return opened, reason
