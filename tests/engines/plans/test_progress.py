"""A share that only grows, whatever phases TensorRT reports, and however many threads do."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from engines.plans.progress import Shares

NAMES = st.sampled_from("abcde")
EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("begin"), NAMES, st.none() | NAMES, st.integers(-1, 5)),
        st.tuples(st.just("step"), NAMES),
        st.tuples(st.just("end"), NAMES),
    ),
    max_size=40,
)


def test_phases_within_phases_are_parts_of_a_step() -> None:
    told: list[float] = []
    shares = Shares(told.append)
    shares.begin("build", None, 2)
    shares.begin("parse", "build", 4)
    shares.step("parse")
    assert told == [0.125]
    shares.end("parse")
    shares.step("build")
    assert told[-1] == 0.5
    shares.begin("time", "build", 2)
    shares.begin("tactics", "time", 2)
    shares.step("tactics")
    assert told[-1] == 0.625
    shares.end("tactics")
    shares.end("time")
    shares.step("build")
    shares.end("build")
    assert told[-1] == 1.0


@given(EVENTS)
def test_the_share_never_falls_and_never_passes_1(events) -> None:
    told: list[float] = []
    shares = Shares(told.append)
    for name, *given_ in events:
        if name == "begin" and _loops(shares, given_[0], given_[1]):
            continue
        getattr(shares, name)(*given_)
    assert told == sorted(set(told))
    assert all(0 < share <= 1 for share in told)


def _loops(shares: Shares, name: str, parent: str | None) -> bool:
    """Whether a phase would be within itself, which no build has."""
    while parent is not None:
        if parent == name:
            return True
        phase = shares._phases.get(parent)
        parent = phase.parent if phase else None
    return False
