"""What a station and its worker say to each other, and the options of both."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

from edge.given import GivenSettings
from edge.plc.station.snapshot import DefectBox, ErrorCode, InspectionResult, ResultEvaluation

NS_PER_MS = 1_000_000
NS_PER_S = 1_000_000_000


class Clock(Protocol):
    """Where time comes from: the module `time`; tests bring their own."""

    def monotonic_ns(self) -> int:
        """Nanoseconds that never go back: decide deadlines."""
        ...

    def time_ns(self) -> int:
        """Unix time in ns, UTC: goes into records alone."""
        ...


@dataclass(frozen=True, slots=True)
class StationOptions:
    """The options of a station.

    Attributes:
        name: of the station, in results and addresses.
        deadline_ms: milliseconds from accepted trigger to result; after that, REJECT.
        stall_after_s: an inspection that takes this long stops the heartbeat.
        hang_after_s: one that takes this long is a fault, and its worker is replaced.
        load_after_s: the same for a change of recipe.
        latch: a fault stays until it is cleared; otherwise until there is a worker again.
        recipes: ids that can be loaded.
        picture_of: where the picture of a rejected part can be seen, empty where there is none;
            it must return at once. None: the worker is not told what becomes of its parts.

    Raises:
        ValueError: a time that is not positive.
    """

    name: str = "station"
    deadline_ms: float = 1000.0
    stall_after_s: float = 2.0
    hang_after_s: float = 10.0
    load_after_s: float = 120.0
    latch: bool = True
    recipes: frozenset[int] = frozenset()
    picture_of: Callable[[InspectionResult], str] | None = None

    def __post_init__(self) -> None:
        """Check the times."""
        times = {
            "deadline_ms": self.deadline_ms,
            "stall_after_s": self.stall_after_s,
            "hang_after_s": self.hang_after_s,
            "load_after_s": self.load_after_s,
        }
        for name, value in times.items():
            if not 0 < value < 1e9:
                raise ValueError(f"{name} {value}: must be positive")


@dataclass(frozen=True, slots=True)
class JudgeOptions:
    """How a worker inspects.

    Attributes:
        recipes: bundles by their id.
        source: what `cameras.connect.open_source` takes; files begin anew at their end.
        engine: ``auto`` or the name of one.
        warm_up: inspections in a row that must keep the deadline before a recipe is used.
        deadline_ms: the deadline that they must keep.
        settle_ms: how long after the trigger a live picture must come to count: a camera's
            pictures arrive later than they were taken.
        stall_after_s: how long to wait for a camera's picture.
        self_test_s: seconds between two tests with the golden images; 0 = at the start alone.
        given: settings in place of the bundles' own, of every recipe.
        given_of: by recipe, those that go before.
        bit_depth: of the values in 16-bit files; None = the bundle's own.
        free: the station triggers itself, so that many pictures may show one part.
        watch_bundles: take a recipe's bundle into use between two parts once it is made anew.
    """

    recipes: Mapping[int, str]
    source: str
    engine: str = "auto"
    warm_up: int = 5
    deadline_ms: float = 1000.0
    settle_ms: float = 0.0
    stall_after_s: float = 1.0
    self_test_s: float = 600.0
    given: GivenSettings = field(default_factory=GivenSettings)
    bit_depth: int | None = None
    free: bool = False
    watch_bundles: bool = False
    given_of: Mapping[int, GivenSettings] = field(default_factory=dict)

    def given_for(self, recipe_id: int) -> GivenSettings:
        """The settings in place of the bundle's own, of one recipe."""
        return self.given_of.get(recipe_id, self.given)


@dataclass(frozen=True, slots=True)
class RecorderOptions:
    """What a worker does with the pictures of its parts.

    Attributes:
        station: its name.
        source: of its pictures, as records have it.
        records: keywords of `edge.options.RecordOptions`.
        page: whether pictures can be seen on a page.
        recipe_id: the recipe that a candidate is compared with.
        given: of that recipe, in place of the candidate's own.
        engine: of the candidate.
    """

    station: str
    source: str
    records: Mapping[str, Any]
    page: bool
    recipe_id: int
    given: GivenSettings
    engine: str = "auto"


@dataclass(frozen=True, slots=True)
class Recipe:
    """What a worker has loaded.

    Attributes:
        recipe_id: its id.
        model_hash: SHA-256 of its graph, hexadecimal.
        threshold: the score from which a part is NOT_OK.
        simulated: no camera is involved.
    """

    recipe_id: int
    model_hash: str = ""
    threshold: float = 0.0
    simulated: bool = False


@dataclass(frozen=True, slots=True)
class Job:
    """Inspect a part.

    Attributes:
        seq: to be given back with the answer.
        trigger_id: of the trigger.
        part_id: of the trigger.
        triggered_ns: monotonic; a picture that was taken before shows another part.
        deadline_ns: monotonic; later answers are thrown away.
    """

    seq: int
    trigger_id: int
    part_id: int
    triggered_ns: int
    deadline_ns: int


@dataclass(frozen=True, slots=True)
class Change:
    """Load a recipe."""

    recipe_id: int


@dataclass(frozen=True, slots=True)
class Replace:
    """Kill the worker and start another."""

    reason: str


@dataclass(frozen=True, slots=True)
class Decided:
    """What was decided about the part that was inspected last: its picture may go where it goes."""

    result: InspectionResult


Order: TypeAlias = Job | Change | Replace | Decided


@dataclass(frozen=True, slots=True)
class Answer:
    """What a worker found out about a part; after it, the worker is idle again.

    Attributes:
        seq: the job's.
        evaluation: OK, NOT_OK or NOT_DECIDABLE.
        error: NONE, or why it could not be decided.
        reason: the same in words.
        score: None where there is none.
        defects: regions that reach the threshold.
        worst: the worst of them.
        acquired_at_ns: Unix time of the picture, UTC; 0 if there is none.
        acquire_us: microseconds from trigger to picture.
        process_us: microseconds that the inspection took.
        drift: how the last scores lie to those of the build (`edge.health.drift.DriftState`).
        trouble: what is amiss with scores or pictures, in words; it changes no decision.
    """

    seq: int
    evaluation: ResultEvaluation
    error: ErrorCode = ErrorCode.NONE
    reason: str = ""
    score: float | None = None
    defects: int = 0
    worst: DefectBox = field(default_factory=DefectBox)
    acquired_at_ns: int = 0
    acquire_us: int = 0
    process_us: int = 0
    drift: str = ""
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class WorkerSetup:
    """The first message to a worker.

    Attributes:
        judge: keywords of `JudgeOptions`.
        recipe_id: what it loads first.
        recorder: keywords of `RecorderOptions`; None where no picture goes anywhere.
    """

    judge: dict[str, Any]
    recipe_id: int
    recorder: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Watched:
    """Somebody looks at the page."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The worker is loaded, warm and idle."""

    recipe: Recipe


@dataclass(frozen=True, slots=True)
class Compiling:
    """A recipe's plan is being compiled, which takes minutes on a GPU, and has just moved on."""

    share: float


@dataclass(frozen=True, slots=True)
class Changed:
    """The worker has changed its recipe, or kept the one it had."""

    recipe: Recipe
    error: ErrorCode
    reason: str


@dataclass(frozen=True, slots=True)
class Swapped:
    """The recipe's bundle was made anew, and has taken over between two parts."""

    recipe: Recipe


@dataclass(frozen=True, slots=True)
class Drawn:
    """A part's drawn picture, for the page.

    Attributes:
        descriptor: of memory with the JPEG.
        id, verdict, monotonic_s: see `edge.service.http_routes.DrawnResult`.
        result: what the page tells of it.
        rejected: whether it is one of the rejected.
    """

    descriptor: int
    id: str
    verdict: str
    monotonic_s: float
    result: dict[str, Any]
    rejected: bool


@dataclass(frozen=True, slots=True)
class RecordState:
    """What the worker cannot write now, and what it could not write so far."""

    trouble: str = ""
    not_written: int = 0


@dataclass(frozen=True, slots=True)
class Failed:
    """The worker cannot begin, and ends."""

    code: ErrorCode
    reason: str


@dataclass(frozen=True, slots=True)
class ThreadFailed:
    """A thread of the worker failed in a way that nobody foresaw."""

    thread: str
    reason: str
    goes_on: bool


@dataclass(frozen=True, slots=True)
class SourceTrouble:
    """What is wrong with the source although it works; empty when it is over."""

    text: str = ""


TO_WORKER = (WorkerSetup, Job, Change, Decided, Watched)
FROM_WORKER = (
    *(Ready, Answer, Changed, Compiling, Failed, ThreadFailed, SourceTrouble),
    *(Swapped, Drawn, RecordState),
)
