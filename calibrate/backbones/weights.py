"""Read a network's weights from a file or the hub, and hand them out by name and shape."""

from __future__ import annotations

import logging
import re
from pathlib import Path

# Only the name of the error that torch raises when it refuses a file; nothing is unpickled here.
from pickle import UnpicklingError

import numpy as np
import numpy.typing as npt

from calibrate.backbones.backbone import BackboneError
from process.plain_files import MAX_FILE_BYTES, check_plain

Array = npt.NDArray[np.float32]
NORM_EPS = 1e-5  # of torchvision's and timm's batch norms in the networks here
INSTALL = "pip install 'protoedge[train]'"


class Weights:
    """Named tensors; each is taken with the shape that the network expects."""

    def __init__(self, tensors: dict[str, Array], *, source: str) -> None:
        """Hold the tensors of `source`, which messages name."""
        self._tensors = tensors
        self._source = source
        self._taken: set[str] = set()

    def shape(self, name: str) -> tuple[int, ...]:
        """Shape of one tensor.

        Raises:
            BackboneError: there is none of that name.
        """
        if name not in self._tensors:
            raise BackboneError(
                f"{self._source}: tensor {name} is missing; give weights of this very network"
            )
        return self._tensors[name].shape

    def take(self, name: str, *shape: int) -> Array:
        """One tensor, float32.

        Raises:
            BackboneError: there is none of that name, or it has another shape.
        """
        found = self.shape(name)
        if found != shape:
            raise BackboneError(
                f"{self._source}: tensor {name} has shape {found}, expected {shape}; "
                "give weights of this very network"
            )
        self._taken.add(name)
        return self._tensors[name].astype(np.float32)

    def conv_norm(self, convolution: str, norm: str, *shape: int) -> tuple[Array, Array]:
        """Weight and bias of a convolution of the given shape, its batch norm folded in.

        Raises:
            BackboneError: a tensor is missing or has another shape.
        """
        weight = self.take(f"{convolution}.weight", *shape)
        gain, shift, mean, variance = (
            self.take(f"{norm}.{part}", shape[0]).astype(np.float64)
            for part in ("weight", "bias", "running_mean", "running_var")
        )
        scale = gain / np.sqrt(variance + NORM_EPS)
        kernel = (weight * scale[:, None, None, None]).astype(np.float32)
        return kernel, (shift - mean * scale).astype(np.float32)

    def finish(self, ignored: tuple[str, ...]) -> None:
        """Check that nothing was left over but what starts with one of `ignored`.

        Raises:
            BackboneError: a tensor that the network does not have.
        """
        for name in sorted(set(self._tensors) - self._taken):
            if not name.startswith(ignored) and not name.endswith(".num_batches_tracked"):
                raise BackboneError(
                    f"{self._source}: tensor {name} is unexpected; "
                    "give weights of this very network"
                )


def read_weights(path: Path) -> Weights:
    """Read ``.safetensors``, or ``.pth`` / ``.pt`` without running any code in it.

    MobileNetV2 under timm's names is renamed to torchvision's.

    Raises:
        BackboneError: missing, damaged or unknown file, or a package is not installed.
    """
    try:
        check_plain(path.stat(), path, max_bytes=MAX_FILE_BYTES)
    except FileNotFoundError:
        raise BackboneError(
            f"{path}: no such file; give a .safetensors, .pth or .pt file"
        ) from None
    except OSError as error:
        raise BackboneError(f"{path}: {error.strerror}; give a file of weights") from error
    if path.suffix == ".safetensors":
        tensors = _safetensors(path)
    elif path.suffix in (".pth", ".pt"):
        tensors = _checkpoint(path)
    else:
        raise BackboneError(f"{path}: unknown kind of file; give .safetensors, .pth or .pt")
    if "conv_stem.weight" in tensors:
        tensors = {_torchvision_name(name): value for name, value in tensors.items()}
    return Weights(tensors, source=str(path))


def downloaded_weights(repository: str) -> Path:
    """Path of ``model.safetensors`` from a Hugging Face repository, from its cache if there.

    Raises:
        BackboneError: not reachable, or a package is not installed.
    """
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub import logging as hub_logging
        from huggingface_hub.errors import HfHubHTTPError
    except ImportError as error:
        raise BackboneError(f"a download needs huggingface_hub; {INSTALL}") from error
    verbosity = hub_logging.get_verbosity()
    hub_logging.set_verbosity(logging.ERROR)  # warnings of each retry would bury the one line
    try:
        return Path(hf_hub_download(repository, "model.safetensors"))
    except (OSError, HfHubHTTPError) as error:
        raise BackboneError(
            f"{repository}: cannot be downloaded ({type(error).__name__}); connect to the "
            "internet, or give a file with --weights"
        ) from error
    finally:
        hub_logging.set_verbosity(verbosity)


def _safetensors(path: Path) -> dict[str, Array]:
    try:
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except ImportError as error:
        raise BackboneError(f"{path}: needs the package safetensors; {INSTALL}") from error
    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise BackboneError(f"{path}: is damaged ({error}); download it again") from error


def _checkpoint(path: Path) -> dict[str, Array]:
    try:
        import torch
    except ImportError as error:
        raise BackboneError(f"{path}: needs the package torch; {INSTALL}") from error
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise BackboneError(
            f"{path}: holds no plain tensors, or is damaged; give a state dict"
        ) from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
        content = content["state_dict"]
    if not isinstance(content, dict) or not content:
        raise BackboneError(f"{path}: holds no state dict; save model.state_dict()")
    tensors = {}
    for name, value in content.items():
        if not isinstance(value, torch.Tensor):
            raise BackboneError(f"{path}: {name} is no tensor; save model.state_dict()")
        tensors[str(name)] = value.float().numpy()
    return tensors


def _torchvision_name(name: str) -> str:
    """The torchvision name of a timm MobileNetV2 tensor; other names pass unchanged."""
    head = {"conv_stem": "features.0.0", "conv_head": "features.18.0"}
    head |= {"bn1": "features.0.1", "bn2": "features.18.1"}
    top, _, rest = name.partition(".")
    if top in head:
        return f"{head[top]}.{rest}"
    found = re.fullmatch(r"blocks\.(\d)\.(\d)\.(\w+)\.(\w+)", name)
    if found is None:
        return name
    group, block, part, kind = int(found[1]), int(found[2]), found[3], found[4]
    index = 1 + sum((1, 2, 3, 4, 3, 3, 1)[:group]) + block
    expanded = {"conv_pw": "0.0", "bn1": "0.1", "conv_dw": "1.0", "bn2": "1.1"}
    expanded |= {"conv_pwl": "2", "bn3": "3"}
    plain = {"conv_dw": "0.0", "bn1": "0.1", "conv_pw": "1", "bn2": "2"}
    place = (plain if group == 0 else expanded).get(part)
    return name if place is None else f"features.{index}.conv.{place}.{kind}"
