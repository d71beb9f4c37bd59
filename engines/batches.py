"""What a graph takes and gives, and how any number of images becomes calls of its fixed batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from engines.engine import Images, Output
from engines.errors import EngineError

INPUT = "image"
BATCH = "N"
"""Name of the first axis of a graph that takes any number of images."""
CHANNELS = 3


@dataclass(frozen=True, slots=True)
class Signature:
    """The fixed shape of a graph's input and the names of its outputs.

    Attributes:
        batch: images per call of the graph.
        size: (height, width) of an image.
        outputs: names of the outputs, in the graph's order.
    """

    batch: int
    size: tuple[int, int]
    outputs: tuple[str, ...]


def signature_from_input(
    name: str, *, dtype: str, shape: Sequence[object], outputs: Sequence[str], where: str
) -> Signature:
    """Check that a graph's only input is `image`, uint8 (N, H, W, 3) with fixed sizes but for N.

    Args:
        name: the input's name.
        dtype: its element type in words; anything that contains ``uint8`` or is ``u8`` passes.
        shape: its dimensions; a positive int each, but for a first one of any number: 1 then.
        outputs: names of the graph's outputs.
        where: the engine's name, for the message.

    Raises:
        EngineError: the graph takes something else.
    """
    if len(shape) == 4 and shape[0] in (BATCH, -1):
        shape = (1, *shape[1:])
    fixed = [size for size in shape if isinstance(size, int) and size > 0]
    is_bytes = dtype == "u8" or "uint8" in dtype.lower()
    if name != INPUT or not is_bytes or len(fixed) != len(shape) or len(fixed) != 4:
        raise EngineError(
            f"{where}: the graph takes {name} {dtype} {list(shape)}, not image uint8 "
            "[N, H, W, 3] with fixed sizes; export it again with `edge build`"
        )
    if fixed[3] != CHANNELS:
        raise EngineError(f"{where}: the graph takes {fixed[3]} channels, not 3 (BGR)")
    return Signature(batch=fixed[0], size=(fixed[1], fixed[2]), outputs=tuple(outputs))


def takes_any_number(model: bytes) -> bool:
    """Whether a graph takes any number of images at once.

    Args:
        model: serialised ONNX.
    """
    import onnx

    values = onnx.load_model_from_string(model).graph.input
    first = [dim for value in values for dim in value.type.tensor_type.shape.dim[:1]]
    return any(dim.dim_param == BATCH for dim in first)


def largest_batch(model: bytes, asked: int) -> int:
    """How many images a graph's plan takes at once, at most: `asked`, or 1 if the graph does.

    Args:
        model: serialised ONNX.
        asked: 1 or more.
    """
    return asked if asked > 1 and takes_any_number(model) else 1


def with_batch(model: bytes, batch: int) -> bytes:
    """A graph of any number of images for so many; one of a fixed number as it is.

    Args:
        model: serialised ONNX.
        batch: images per call.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        parsed = onnx.load_model_from_string(model)
    except DecodeError:
        return model  # whoever runs it says what is wrong with it
    values = [*parsed.graph.input, *parsed.graph.output]
    free = [value for value in values if value.type.tensor_type.shape.dim[:1]]
    named = [value for value in free if value.type.tensor_type.shape.dim[0].dim_param]
    if not named:
        return model
    for value in named:
        value.type.tensor_type.shape.dim[0].dim_value = batch
    return bytes(parsed.SerializeToString())


def check_images(images: Images, signature: Signature, *, where: str) -> None:
    """Refuse anything but (N, H, W, 3) uint8 of the graph's size, N >= 1.

    Raises:
        EngineError: wrong type or shape.
    """
    if not isinstance(images, np.ndarray) or images.dtype != np.uint8:
        found = getattr(images, "dtype", type(images).__name__)
        raise EngineError(f"{where}: images must be uint8, not {found}")
    height, width = signature.size
    if images.ndim != 4 or images.shape[0] < 1 or images.shape[1:] != (height, width, CHANNELS):
        raise EngineError(
            f"{where}: images must be (N, {height}, {width}, 3), N >= 1, not {images.shape}; "
            "resize them to the model's size first"
        )


def run_in_batches(
    images: Images, signature: Signature, run: Callable[[Images], Sequence[Output]]
) -> tuple[Output, ...]:
    """Call `run` on chunks of exactly `signature.batch` images, and join what it gives.

    The last chunk is filled up with its last image; what that adds is dropped.

    Args:
        images: (N, H, W, 3) uint8, checked.
        signature: of the graph.
        run: (batch, H, W, 3), of any strides, to one array per output, first axis `batch`; its
            next call must not reuse the arrays.
    """
    batch = signature.batch
    if len(images) == batch:
        return tuple(run(images))
    parts = []
    for start in range(0, len(images), batch):
        chunk = images[start : start + batch]
        missing = batch - len(chunk)
        if missing:
            chunk = np.concatenate([chunk, np.repeat(chunk[-1:], missing, axis=0)])
        outputs = run(chunk)
        parts.append([output[: batch - missing] for output in outputs])
    return tuple(np.concatenate(column) for column in zip(*parts, strict=True))
