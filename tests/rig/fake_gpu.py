"""A GPU that computes nothing quickly and forgives nothing: memory, streams, events, contexts.

Work is put on streams and runs when somebody waits for it. Who may see whose work is kept in vector
clocks, one entry for the host and for each stream: an access to memory that isn't ordered after
every conflicting one is a `Violation`, whether or not it would have gone well this time. The same
holds for what was freed, freed twice, never freed, or used from another context.
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

Clock = dict[str, int]
HOST = "host"
PAGE = 4096


class Violation(AssertionError):  # noqa: N818
    """What a real GPU might have let pass, or answered with somebody else's data."""


@dataclass(frozen=True)
class Access:
    """One use of memory: bytes `start` to `stop` of a block, by `who` at his time `at`."""

    start: int
    stop: int
    write: bool
    who: str
    at: int
    what: str


@dataclass
class Block:
    """Allocated memory; `alias` is where the GPU sees mapped host memory."""

    address: int
    kind: str  # pinned, mapped, device
    data: np.ndarray
    context: int
    alias: int = 0
    accesses: list[Access] = field(default_factory=list)


@dataclass
class Work:
    """What a stream does: the memory that it touches, and the deed."""

    name: str
    reads: list[tuple[int, int]]
    writes: list[tuple[int, int]]
    action: Callable[[], None]
    stream: str = ""
    at: int = 0


@dataclass
class Stream:
    key: str
    context: int
    clock: Clock = field(default_factory=dict)
    captured: list[Work] | None = None
    broken: bool = False


@dataclass
class Event:
    context: int
    clock: Clock = field(default_factory=dict)


def alone(method: Callable[..., Any]) -> Callable[..., Any]:
    """One thread of the host at a time, as a driver takes its calls."""

    @functools.wraps(method)
    def call(self: FakeGpu, *given: Any, **named: Any) -> Any:
        with self.mutex:
            return method(self, *given, **named)

    return call


def joined(*clocks: Clock) -> Clock:
    return {key: max(clock.get(key, 0) for clock in clocks) for key in set().union(*clocks)}


class FakeGpu:
    """The machine; `check_nothing_left` at the end."""

    def __init__(self, *, integrated: bool = False) -> None:
        self.mutex = threading.RLock()
        self.before_touch: Callable[[], None] = lambda: None  # to let other threads in
        self.integrated = integrated
        self.lost = 0  # CUDA's error that every call gets, once set
        self.host: Clock = {HOST: 1}
        self.blocks: dict[int, Block] = {}
        self.streams: dict[int, Stream] = {}
        self.events: dict[int, Event] = {}
        self.graphs: dict[int, list[Work]] = {}
        self.launchable: dict[int, list[Work]] = {}
        self.pending: list[Work] = []
        self.complaints: list[str] = []  # of finalizers, which can't raise
        self.launches = 0
        self._freed: list[tuple[int, int]] = []
        self._addresses = itertools.count(0x7F00_0000_0000, 1 << 24)
        self._handles = itertools.count(0x1000, 16)
        legacy = Stream("the default stream", context=0)
        self.streams[1] = legacy

    # memory

    @alone
    def allocate(self, size: int, kind: str, context: int) -> Block:
        address = next(self._addresses)
        data = np.full(size, 0xDB, np.uint8)
        block = Block(address, kind, data, context)
        if kind == "mapped":
            block.alias = next(self._addresses)
        self.blocks[address] = block
        return block

    @alone
    def free(self, address: int, kinds: tuple[str, ...], context: int) -> None:
        block = self.blocks.get(address)
        if block is None:
            self._not_there(address, "freed")
        if block.kind not in kinds:
            raise Violation(f"{block.kind} memory freed as {kinds}")
        if block.context != context:
            raise Violation("memory freed in another context")
        self._see(block, 0, len(block.data), True, HOST, self._tick(), self.host, "free")
        del self.blocks[address]
        self._freed.append((address, len(block.data)))
        if block.alias:
            self._freed.append((block.alias, len(block.data)))

    def found(self, address: int, size: int, what: str) -> tuple[Block, int]:
        for block in self.blocks.values():
            for begin in (block.address, block.alias):
                if begin and begin <= address < begin + len(block.data):
                    if address + size > begin + len(block.data):
                        raise Violation(f"{what}: {size} bytes reach beyond the end of memory")
                    return block, address - begin
        self._not_there(address, what)
        raise AssertionError

    def bytes_at(self, address: int, size: int) -> np.ndarray:
        block, offset = self.found(address, size, "the GPU")
        return block.data[offset : offset + size]

    def touch(self, block: Block, start: int, stop: int, *, write: bool) -> None:
        """The host reads or writes page-locked memory."""
        self.before_touch()
        self._touch(block, start, stop, write=write)

    @alone
    def _touch(self, block: Block, start: int, stop: int, *, write: bool) -> None:
        if self.blocks.get(block.address) is not block:
            self._not_there(block.address, "used by the host")
        self._see(block, start, stop, write, HOST, self._tick(), self.host, "the host")

    # work

    @alone
    def put(self, handle: int, work: Work) -> None:
        stream = self.streams[handle]
        if stream.captured is not None:
            stream.captured.append(work)
            return
        clock = joined(self.host, stream.clock)
        at = clock[stream.key] = clock.get(stream.key, 0) + 1
        stream.clock = clock
        for write, parts in ((False, work.reads), (True, work.writes)):
            for address, size in parts:
                block, offset = self.found(address, size, work.name)
                if block.context != stream.context and stream.context:
                    raise Violation(f"{work.name}: memory of another context")
                self._see(block, offset, offset + size, write, stream.key, at, clock, work.name)
        self.pending.append(Work(work.name, work.reads, work.writes, work.action, stream.key, at))
        self.launches += 1

    @alone
    def launch(self, handle: int, graph: list[Work]) -> None:
        for work in graph:
            self.put(handle, work)
        self.launches -= len(graph) - 1

    @alone
    def record(self, event: Event, stream: Stream) -> None:
        event.clock = joined(self.host, stream.clock)

    @alone
    def wait(self, clock: Clock) -> None:
        """The host waits; what is ordered before that moment runs, and nothing else."""
        rest = []
        for work in self.pending:
            if work.at <= clock.get(work.stream, 0):
                work.action()
            else:
                rest.append(work)
        self.pending = rest
        self.host = joined(self.host, clock)

    @alone
    def forget(self, context: int) -> None:
        """The context is destroyed with all that is in it."""
        for table in (self.blocks, self.streams, self.events):
            for key in [key for key, thing in table.items() if thing.context == context]:
                del table[key]
        self.graphs.clear()
        self.launchable.clear()
        self.pending.clear()

    def handle(self) -> int:
        return next(self._handles)

    def check_nothing_left(self) -> None:
        left = {
            "memory": [f"{block.kind} {len(block.data)}" for block in self.blocks.values()],
            "streams": [key for key in self.streams if key != 1],
            "events": list(self.events),
            "graphs": [*self.graphs, *self.launchable],
            "complaints": self.complaints,
        }
        leaks = {key: value for key, value in left.items() if value}
        if leaks:
            raise Violation(f"left behind: {leaks}")

    def _tick(self) -> int:
        self.host[HOST] += 1
        return self.host[HOST]

    def _see(
        self,
        block: Block,
        start: int,
        stop: int,
        write: bool,
        who: str,
        at: int,
        clock: Clock,
        what: str,
    ) -> None:
        for before in block.accesses:
            apart = before.stop <= start or stop <= before.start
            ordered = clock.get(before.who, 0) >= before.at
            if not apart and not ordered and (write or before.write):
                verb = "writes" if write else "reads"
                raise Violation(
                    f"{what} {verb} {block.kind} memory while {before.what} on {before.who} "
                    f"{'writes' if before.write else 'reads'} it: nobody waited"
                )
        if write:
            block.accesses = [
                before for before in block.accesses if before.start < start or stop < before.stop
            ]
        block.accesses.append(Access(start, stop, write, who, at, what))
        if not write and len(block.accesses) > 64:
            same = {(one.start, one.stop, one.write, one.who): one for one in block.accesses}
            block.accesses = list(same.values())

    def _not_there(self, address: int, what: str) -> Any:
        for begin, size in self._freed:
            if begin <= address < begin + size:
                raise Violation(f"{what}: {address:#x} was freed before")
        raise Violation(f"{what}: {address:#x} is nobody's memory")


class Guarded(np.ndarray):
    """A view of page-locked memory that tells the GPU when the host reads or writes it."""

    gpu: FakeGpu
    block: Block

    def __array_finalize__(self, parent: Any) -> None:
        self.gpu = getattr(parent, "gpu", None)  # type: ignore[assignment]
        self.block = getattr(parent, "block", None)  # type: ignore[assignment]

    def seen(self, *, write: bool) -> np.ndarray:
        plain = self.view(np.ndarray)
        low, high = np.lib.array_utils.byte_bounds(plain)
        begin = self.block.data.ctypes.data
        self.gpu.touch(self.block, low - begin, high - begin, write=write)
        return plain

    def __array_function__(self, function: Any, types: Any, args: Any, kwargs: Any) -> Any:
        written = args[0] if function is np.copyto else None
        plain = [
            one.seen(write=one is written) if isinstance(one, Guarded) else one for one in args
        ]
        return function(*plain, **kwargs)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **kwargs: Any) -> Any:
        out = kwargs.pop("out", ())
        plain = [one.seen(write=False) if isinstance(one, Guarded) else one for one in inputs]
        if out:
            kwargs["out"] = tuple(
                one.seen(write=True) if isinstance(one, Guarded) else one for one in out
            )
        return getattr(ufunc, method)(*plain, **kwargs)

    def __setitem__(self, key: Any, value: Any) -> None:
        self.seen(write=True)[key] = value

    def copy(self, order: str = "C") -> np.ndarray:  # type: ignore[override]
        return self.seen(write=False).copy(order)  # type: ignore[call-overload]

    def tobytes(self, order: str = "C") -> bytes:  # type: ignore[override]
        return self.seen(write=False).tobytes(order)  # type: ignore[arg-type]


def guarded(gpu: FakeGpu, address: int, shape: tuple[int, ...], dtype: Any) -> Guarded:
    block = gpu.blocks[address]
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    view = block.data[:size].view(dtype).reshape(shape).view(Guarded)
    view.gpu, view.block = gpu, block
    return view
