"""What each error code means and what to do: the tables of docs/plc.md and docs/modbus.md."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from edge.plc.station.snapshot import ErrorCode


@dataclass(frozen=True, slots=True)
class ErrorMeaning:
    """An error code in words.

    Attributes:
        happened: what happened.
        remedy: what to do.
    """

    happened: str
    remedy: str


ERROR_MEANINGS: Mapping[ErrorCode, ErrorMeaning] = MappingProxyType(
    {
        ErrorCode.NONE: ErrorMeaning("nothing", "–"),
        ErrorCode.DEADLINE: ErrorMeaning(
            "no answer in time; the part is REJECT, evaluation 0",
            "raise `deadline_ms`, or look at what else runs there",
        ),
        ErrorCode.NO_PICTURE: ErrorMeaning(
            "the camera gave none that is younger than the trigger",
            "cable, power, `source`; one that has failed is opened again after 0.5 to 5 s",
        ),
        ErrorCode.BAD_PICTURE: ErrorMeaning(
            "what came cannot be judged: it is black, burnt out, blurred, covered, frozen or of a "
            "wrong size ([health.md](health.md)), or no picture at all by its shape or type",
            "what the reason says; the camera's format; embedding: (H, W, 3) uint8",
        ),
        ErrorCode.ENGINE: ErrorMeaning(
            "the engine failed, or its score is not finite",
            "the log of `edge serve`; `edge doctor`",
        ),
        ErrorCode.ABORTED: ErrorMeaning(
            "the station was closed in the middle of a part",
            "–",
        ),
        ErrorCode.NOT_INSPECTED: ErrorMeaning(
            "`edge capture --bridge`: its picture was saved, nothing was inspected",
            "[capture.md](capture.md)",
        ),
        ErrorCode.WORKER_LOST: ErrorMeaning(
            "the process that inspects has ended",
            "the log says by what; out of memory is the usual cause",
        ),
        ErrorCode.WORKER_HUNG: ErrorMeaning(
            "it gave no sign of life for `silent_after_s`, or took `hang_after_s` for a part",
            "a driver that hangs, a machine that is overloaded",
        ),
        ErrorCode.WORKER_START: ErrorMeaning(
            "it cannot begin: bundle, engine or camera",
            "the log says which, and what to do",
        ),
        ErrorCode.TOO_SLOW: ErrorMeaning(
            "warm-up inspections take longer than the deadline",
            "raise `deadline_ms`, smaller size, lower precision",
        ),
        ErrorCode.UNKNOWN_COMMAND: ErrorMeaning(
            "the command word is no command",
            "1 loads a recipe, 2 zeroes the counters",
        ),
        ErrorCode.UNKNOWN_RECIPE: ErrorMeaning(
            "no recipe of this number",
            "`station.recipes` in `edge.toml`",
        ),
        ErrorCode.RECIPE_REFUSED: ErrorMeaning(
            "its bundle is damaged or fails its self-test; the one before inspects on",
            "build it again on this machine",
        ),
        ErrorCode.NOT_NOW: ErrorMeaning(
            "a recipe in the middle of a part, or in a fault",
            "wait for `Ready`",
        ),
    }
)
