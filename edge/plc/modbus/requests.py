"""One Modbus request and its answer: function codes 3, 4, 6 and 16, nothing else.

pymodbus reads and writes the bodies. Lengths are checked here first, since a body with bytes
missing or left over is no request that anybody meant to send. Refusals follow the Modbus
Application Protocol 1.1b3: 1 for the function, then 3 for quantities and lengths, then 2 for
addresses.
"""

from __future__ import annotations

import struct

from pymodbus.constants import ExcCodes
from pymodbus.pdu import ExceptionResponse, ModbusPDU
from pymodbus.pdu.register_message import (
    ReadHoldingRegistersRequest,
    ReadHoldingRegistersResponse,
    ReadInputRegistersRequest,
    ReadInputRegistersResponse,
    WriteMultipleRegistersRequest,
    WriteMultipleRegistersResponse,
    WriteSingleRegisterRequest,
    WriteSingleRegisterResponse,
)

from edge.plc.modbus.registers import NoRegisterError, StationRegisters

MAX_READ = 125  # registers in one answer
MAX_WRITTEN = 123  # registers in one request

_SHORT_BODY = 4  # bytes: address and quantity, or address and value
_WRITE_HEAD = 5  # bytes: address, quantity, byte count


class _BadValueError(ValueError):
    """A quantity or a length that the protocol does not allow."""


def answer(pdu: bytes, registers: StationRegisters) -> bytes:
    """Return the answer to one request.

    Args:
        pdu: function code and body, at least one byte, without the MBAP header.
        registers: what is read and written.

    Returns:
        Function code and body of the answer; a refusal has the function's highest bit set.
    """
    function, body = pdu[0], pdu[1:]
    try:
        if function in {3, 4}:
            response = _read(function, body, registers)
        elif function == 6:
            response = _write_one(body, registers)
        elif function == 16:
            response = _write_many(body, registers)
        else:
            response = ExceptionResponse(function, ExcCodes.ILLEGAL_FUNCTION)
    except _BadValueError:
        response = ExceptionResponse(function, ExcCodes.ILLEGAL_VALUE)
    except NoRegisterError:
        response = ExceptionResponse(function, ExcCodes.ILLEGAL_ADDRESS)
    return bytes((response.function_code,)) + response.encode()


def _read(function: int, body: bytes, registers: StationRegisters) -> ModbusPDU:
    if function == 3:
        request = _decode(ReadHoldingRegistersRequest(), body, length=_SHORT_BODY)
    else:
        request = _decode(ReadInputRegistersRequest(), body, length=_SHORT_BODY)
    if not 1 <= request.count <= MAX_READ:
        raise _BadValueError
    if function == 3:
        values = registers.read_holding(request.address, request.count)
        return ReadHoldingRegistersResponse(registers=list(values))
    values = registers.read_input(request.address, request.count)
    return ReadInputRegistersResponse(registers=list(values))


def _write_one(body: bytes, registers: StationRegisters) -> ModbusPDU:
    request = _decode(WriteSingleRegisterRequest(), body, length=_SHORT_BODY)
    registers.write(request.address, request.registers)
    return WriteSingleRegisterResponse(address=request.address, registers=request.registers)


def _write_many(body: bytes, registers: StationRegisters) -> ModbusPDU:
    if len(body) < _WRITE_HEAD:
        raise _BadValueError
    quantity, byte_count = struct.unpack_from(">HB", body, 2)
    if not 1 <= quantity <= MAX_WRITTEN or byte_count != 2 * quantity:
        raise _BadValueError
    request = _decode(WriteMultipleRegistersRequest(), body, length=_WRITE_HEAD + byte_count)
    registers.write(request.address, request.registers)
    return WriteMultipleRegistersResponse(address=request.address, count=quantity)


def _decode(request: ModbusPDU, body: bytes, *, length: int) -> ModbusPDU:
    if len(body) != length:
        raise _BadValueError
    try:
        request.decode(body)
    except ValueError as error:  # pymodbus checks quantities while it reads some bodies
        raise _BadValueError from error
    return request
