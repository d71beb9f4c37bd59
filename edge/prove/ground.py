"""What all claims are tried on: the GPU, its TensorRT, a folder, and engines that stay open."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path

from edge.prove.counted_cuda import CountedCuda
from edge.prove.errors import NotPossibleError
from edge.prove.subject import Subject, SubjectOptions, learn_subject
from engines.cuda import Gpu, gpus
from engines.engine import EngineOptions, Precision
from engines.errors import EngineError
from engines.gpu.engine import Libraries, TensorRtEngine
from engines.plans.find_or_compile import find_or_compile_plan
from engines.plans.flavours import import_flavour, version_of

Learn = Callable[[Path, Precision, SubjectOptions], Subject]


@dataclass(slots=True, eq=False)
class ProvingGround(AbstractContextManager["ProvingGround"]):
    """Where claims are tried; what one of them made is there for the next.

    Attributes:
        folder: empty, and gone afterwards; plans are kept in it.
        flavour: ``tensorrt`` or ``tensorrt-rtx``.
        why_no_card: why nothing can run on a GPU here, and what to do; empty if it can.
        seconds: how long two cameras are watched.
        revival_s: how long a lost GPU may take to come back.
        subject_options: what is drawn and learnt.
        learn: makes a subject.
    """

    folder: Path
    flavour: str
    why_no_card: str = ""
    seconds: float = 60.0
    revival_s: float = 60.0
    subject_options: SubjectOptions = field(default_factory=SubjectOptions)
    learn: Learn = learn_subject
    _subjects: dict[Precision, Subject] = field(default_factory=dict)
    _engines: dict[Precision, TensorRtEngine] = field(default_factory=dict)
    _failed: set[Precision] = field(default_factory=set)

    def options(
        self, subject: Subject, say: Callable[[str], None] | None = None, *, together: int = 1
    ) -> EngineOptions:
        """With which a subject's engine is opened; its plans have a folder of their own."""
        plans = self.folder / f"{hashlib.sha256(subject.model).hexdigest()[:16]}-{together}"
        plans.mkdir(exist_ok=True)
        return EngineOptions(subject.precision, plans, say=say, batch=together, callers=together)

    @property
    def gpu(self) -> Gpu:
        """The GPU that is proven: the first one."""
        return gpus()[0]

    @property
    def tensorrt_major(self) -> int:
        """Major version of the library."""
        return version_of(import_flavour(self.flavour))[0]

    def subject(self, precision: Precision) -> Subject:
        """The inspector at a precision, learnt the first time."""
        if precision not in self._subjects:
            self._subjects[precision] = self.learn(self.folder, precision, self.subject_options)
        return self._subjects[precision]

    def engine(self, precision: Precision) -> TensorRtEngine:
        """The engine at a precision, opened the first time.

        Raises:
            EngineError: it can't be opened; asked again, that is a `NotPossibleError`.
        """
        if precision in self._failed:
            raise NotPossibleError(f"there is no {precision} engine: see above")
        if precision not in self._engines:
            try:
                self._engines[precision] = self.open(self.subject(precision))
            except BaseException:
                self._failed.add(precision)
                raise
        return self._engines[precision]

    def open(self, subject: Subject, *, together: int = 1) -> TensorRtEngine:
        """Open an engine of a subject; its plan is found among those that are kept.

        Args:
            subject: whose graph it runs.
            together: images that are computed at once.
        """
        options = self.options(subject, together=together)
        return TensorRtEngine.from_model(subject.model, flavour=self.flavour, options=options)

    def open_counted(self, subject: Subject) -> tuple[TensorRtEngine, CountedCuda]:
        """Likewise, with CUDA's calls counted."""
        libraries = Libraries.installed(self.flavour)
        counted = CountedCuda.around(libraries.cuda)
        gpu = self.gpu
        engine = find_or_compile_plan(
            subject.model,
            flavour=self.flavour,
            gpu=gpu,
            options=self.options(subject),
            load=lambda plan: TensorRtEngine(
                plan, libraries=Libraries(counted, libraries.trt), device=gpu.name
            ),
        )
        return engine, counted

    def close(self) -> None:
        """Close all engines; a second call does nothing."""
        while self._engines:
            _, engine = self._engines.popitem()
            try:
                engine.close()
            except EngineError:
                continue  # of a lost GPU; what that means is a claim of its own

    def __exit__(self, *_: object) -> None:
        self.close()
