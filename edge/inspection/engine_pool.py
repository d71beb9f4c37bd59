"""Engines that inspectors share: one for each model, however many cameras use it."""

from __future__ import annotations

import threading
from collections.abc import Callable

from edge.inspection.inspector import Inspector
from edge.inspection.settings import settings_from_bundle
from edge.inspection.verdict import DecisionSettings
from engines.bundle import MODEL, Bundle
from engines.choose import AUTO, Choice, choose_engine, open_engine
from engines.engine import EngineOptions
from engines.errors import EngineError
from engines.shared import EngineShare, SharedEngine


class EnginePool:
    """Opens inspectors; those whose bundles hold the same graph share an engine.

    An engine is closed with the last inspector that uses it.

    Args:
        engine: ``auto`` or the name of one.
        cameras: that share an engine, at most; each has an image at a time.
        within_ms: how long an image may wait for others to fill a batch.
        say: receives lines about what takes long, such as why a plan is compiled again.
    """

    def __init__(
        self,
        *,
        engine: str = AUTO,
        cameras: int = 1,
        within_ms: float = 2.0,
        say: Callable[[str], None] | None = None,
    ) -> None:
        self._engine = engine
        self._cameras = cameras
        self._within_ms = within_ms
        self._say = say
        self._lock = threading.Lock()
        self._engines: dict[tuple[str, str], SharedEngine] = {}

    def inspector(
        self, bundle: Bundle, *, settings: DecisionSettings | None = None, engine: str | None = None
    ) -> Inspector:
        """Load an inspector, tested with its golden images, with a share of its model's engine.

        Args:
            bundle: opened.
            settings: in place of the bundle's own.
            engine: in place of the pool's.

        Raises:
            EngineError: the engine can't work here, or fails the self-test.
        """
        chosen = choose_engine(engine or self._engine)
        key = (bundle.manifest.files[MODEL].sha256, chosen.address)
        wanted = settings or settings_from_bundle(bundle)
        with self._lock:  # a plan is compiled once, and not by each camera
            shared = self._engines.get(key)
            if shared is not None:
                try:
                    return self._tested(bundle, shared.share(), wanted)
                except EngineError:
                    # Closed meanwhile, or ill: whoever has it keeps it, we open another.
                    del self._engines[key]
            share = self._opened(bundle, chosen)
            inspector = self._tested(bundle, share, wanted)
            self._engines[key] = share.shared
            return inspector

    def _tested(self, bundle: Bundle, share: EngineShare, settings: DecisionSettings) -> Inspector:
        return Inspector(bundle, settings=settings, engine=share)

    def _opened(self, bundle: Bundle, chosen: Choice) -> EngineShare:
        engine = open_engine(
            bundle.model(),
            engine=chosen.address,
            options=EngineOptions(
                bundle.manifest.precision,
                bundle.plans,
                say=self._say,
                batch=bundle.manifest.max_batch,
                callers=self._cameras,
            ),
        )
        return SharedEngine(engine, within_ms=self._within_ms, why=chosen.reason).share()
