"""Errors that a source of frames can raise.

    CameraError         a camera that stopped, or never started, delivering
    └── SourceError     the source itself is wrong: no such file, unknown scheme, nothing to read
    ImageError          one image file that cannot be read; a stream goes on without it

Each message says what, where, and what to do next; credentials in addresses are redacted.
"""


class CameraError(RuntimeError):
    """A camera, stream or file cannot deliver frames."""


class SourceError(CameraError):
    """The source that the user named is wrong: correct it and start again."""


class ImageError(ValueError):
    """An image file is missing, damaged, too large, or of a kind that is not read."""
