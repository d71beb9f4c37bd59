"""Whoever lacks memory, one line says so."""

from __future__ import annotations

import errno

import cv2
import numpy as np
import pytest

from cameras.errors import ImageError
from edge.cli.errors import line_and_code_from_error
from edge.inspection.failure_reason import reason_from_failure
from engines.errors import EngineError
from process.out_of_memory import is_out_of_memory


def opencv_error() -> Exception:
    with pytest.raises(cv2.error) as caught:
        cv2.copyMakeBorder(np.zeros((1, 1), np.float64), 0, 2**30, 0, 2**30, cv2.BORDER_CONSTANT)
    return caught.value


def caused(cause: Exception) -> Exception:
    error = EngineError("onnxruntime: it does not take this graph; build the bundle again")
    error.__cause__ = cause
    return error


LACKING = {
    "numpy": MemoryError,
    "opencv": opencv_error,
    "system": lambda: OSError(errno.ENOMEM, "Cannot allocate memory"),
    "torch": lambda: RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to"),
    "engine": lambda: caused(RuntimeError("Failed to allocate memory for requested buffer")),
    "c++": lambda: caused(RuntimeError("std::bad_alloc")),
}


@pytest.mark.parametrize("name", LACKING)
def test_lack_of_memory_is_told_as_such(name) -> None:
    error = LACKING[name]()
    line, code = line_and_code_from_error(error)
    assert (line.partition(";")[0], code) == ("out of memory", 1)
    assert reason_from_failure("inspection", error).startswith("out of memory;")


def test_a_line_that_names_the_picture_stays() -> None:
    error = ImageError("a.png: too little memory for 9 x 9 pixels; free some, or scale it down")
    error.__cause__ = MemoryError()
    assert line_and_code_from_error(error) == (str(error), 1)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("out of memory.png: no such file"),
        EngineError("out of memory/x.onnx: no such file"),
        FileNotFoundError(errno.ENOENT, "no such file", "out of memory"),
        caused(RuntimeError("unknown operator")),
    ],
)
def test_a_name_is_no_lack_of_memory(error) -> None:
    assert not is_out_of_memory(error)
