"""Errors that a graph, a plan or a bundle can raise.

    EngineError    an engine that cannot be opened, compiled or run
    BundleError    a bundle that is missing, damaged, or of a schema that this version does not know

Each message says what, where, and what to do next.
"""


class EngineError(RuntimeError):
    """An engine cannot be opened, compiled or run on this machine."""


class BundleError(ValueError):
    """A bundle is missing, incomplete, damaged, or not of a schema that this version reads."""
