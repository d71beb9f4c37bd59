"""What the methods of the OPC UA server do."""

from __future__ import annotations

import logging

from asyncua import ua
from asyncua.ua.status_codes import StatusCodes

from edge.plc.opcua.nodes import INSPECT, MAX_VALUES, RECIPE, RESET, Argument, StationMethod, fit
from edge.plc.station.port import Port
from edge.plc.station.snapshot import StationError

_log = logging.getLogger("edge.plc.opcua")


class _WrongArgumentsError(Exception):
    """Arguments that are not what a method takes; carries the answer to the client."""

    def __init__(self, answer: ua.CallMethodResult) -> None:
        super().__init__(answer.StatusCode.name)
        self.answer = answer


class Methods:
    """Answers calls. Every answer is one: a Bad status has no outputs, so none is stale.

    Args:
        port: the station.
    """

    def __init__(self, port: Port) -> None:
        self._port = port

    async def inspect(self, _parent: ua.NodeId, *given: ua.Variant) -> ua.CallMethodResult:
        """Trigger, wait for the result, take it."""
        try:
            trigger_id, part_id, timeout_ms = _values_from_arguments(INSPECT, given)
        except _WrongArgumentsError as error:
            return error.answer
        try:
            result = await self._port.inspect_async(
                trigger_id=trigger_id, part_id=part_id, deadline_ms=timeout_ms or None
            )
        except ValueError as error:
            _log.warning("opcua: Inspect: %s", error)
            return _bad(StatusCodes.BadOutOfRange)
        except StationError as error:
            _log.info("opcua: Inspect: %s", error)
            return _bad(StatusCodes.BadInvalidState)
        return _outputs(
            INSPECT,
            *(result.seq, result.trigger_id, result.part_id),
            *(int(result.evaluation), int(result.error)),
            result.score if result.score is not None else 0.0,
        )

    async def recipe(self, _parent: ua.NodeId, *given: ua.Variant) -> ua.CallMethodResult:
        """Change the recipe; the answer comes when the new one is tested or the old one is back."""
        try:
            (recipe_id,) = _values_from_arguments(RECIPE, given)
        except _WrongArgumentsError as error:
            return error.answer
        try:
            code = await self._port.recipe_async(recipe_id)
        except StationError as error:
            _log.info("opcua: Recipe: %s", error)
            return _bad(StatusCodes.BadInvalidState)
        return _outputs(RECIPE, int(code))

    async def reset(self, _parent: ua.NodeId, *given: ua.Variant) -> ua.CallMethodResult:
        """Clear a fault."""
        try:
            _values_from_arguments(RESET, given)
        except _WrongArgumentsError as error:
            return error.answer
        self._port.reset()
        return _outputs(RESET)


def _values_from_arguments(method: StationMethod, given: tuple[ua.Variant, ...]) -> list[int]:
    """Return the arguments' values, all of them unsigned whole numbers.

    Raises:
        _WrongArgumentsError: too few, too many, or of another type.
    """
    if len(given) != len(method.takes):
        few = len(given) < len(method.takes)
        code = StatusCodes.BadArgumentsMissing if few else StatusCodes.BadTooManyArguments
        raise _WrongArgumentsError(_bad(code))
    each = [
        ua.StatusCode()
        if _has_type(variant, argument)
        else ua.StatusCode(ua.UInt32(StatusCodes.BadTypeMismatch))
        for variant, argument in zip(given, method.takes, strict=True)
    ]
    if not all(status.is_good() for status in each):
        answer = _bad(StatusCodes.BadInvalidArgument)
        answer.InputArgumentResults = each
        raise _WrongArgumentsError(answer)
    return [int(variant.Value) for variant in given]


def _has_type(variant: ua.Variant, argument: Argument) -> bool:
    if variant.VariantType != getattr(ua.VariantType, argument.kind) or variant.is_array:
        return False
    return isinstance(variant.Value, int) and 0 <= variant.Value <= MAX_VALUES[argument.kind]


def _outputs(method: StationMethod, *values: float) -> ua.CallMethodResult:
    outputs = [
        ua.Variant(fit(value, argument.kind), getattr(ua.VariantType, argument.kind))
        for value, argument in zip(values, method.gives, strict=True)
    ]
    return ua.CallMethodResult(OutputArguments=outputs)


def _bad(code: int) -> ua.CallMethodResult:
    return ua.CallMethodResult(StatusCode=ua.StatusCode(ua.UInt32(code)))
