"""Every error of the command becomes one line that says what, where and what next."""

from __future__ import annotations

import errno
from collections.abc import Sequence

import typer

from process.out_of_memory import is_out_of_memory

USAGE = 2
FAILURE = 1
INTERRUPTED = 130

# typer carries click within itself or depends on it, by its version: ask it for the class.
_CLICK = next(kind for kind in typer.BadParameter.__mro__ if kind.__name__ == "ClickException")
_OUT_OF_MEMORY = (
    "out of memory; give this machine more memory, or build with a smaller --size, --prototypes "
    "or --memory"
)
_MACHINE = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.ENOMEM, errno.EMFILE, errno.ENFILE}
)


def line_and_code_from_error(error: Exception) -> tuple[str, int]:
    """The line and the exit code of an error.

    Returns:
        The line, and 2 for bad use or bad input, 1 for a failure of the machine or of protoedge.
    """
    if isinstance(error, _CLICK):
        return _usage(error), USAGE
    if is_out_of_memory(error):
        is_told = "too little memory" in str(error)  # with the picture that it was lacking for
        return str(error) if is_told else _OUT_OF_MEMORY, FAILURE
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename is not None else ""
        reason = error.strerror or str(error)
        return f"{where}{reason}; check the path, its permissions and the free space", FAILURE
    if isinstance(error, ValueError | RuntimeError):
        return str(error), USAGE if _is_bad_use(error) else FAILURE
    # An error of a library that has no line of its own here is a bug, and is called one.
    what = f"{type(error).__name__}: {error}"
    return f"internal error, {what}; EDGE_DEBUG=1 shows where; please report it", FAILURE


def refuse_empty_words(words: Sequence[str]) -> None:
    """Refuse an empty word, as of a shell's variable that is not set: a path would be this folder.

    Raises:
        typer.BadParameter: there is one; names the option, or the words before.
    """
    before = "edge"
    for word in words:
        name, equals, value = word.partition("=")
        is_option = word.startswith("--")
        if not word.strip() or (is_option and equals and not value.strip()):
            where = f"'{name}'" if is_option else f"after '{before}'"
            raise typer.BadParameter(f"{where}: the text is empty; give one, or leave it out")
        before = word


def is_help(error: Exception) -> bool:
    """Whether the error stands for `edge` alone, whose answer is the help."""
    return type(error).__name__ == "NoArgsIsHelpError"


def one_line(text: str) -> str:
    """The text on one line."""
    return " ".join(text.split())


def _is_bad_use(error: Exception) -> bool:
    """What the user named is wrong, and neither the machine nor a camera has failed."""
    from cameras.errors import SourceError  # late, for `edge --help`
    from edge.sinks.sink import SinkError

    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno in _MACHINE:
        return False
    return isinstance(error, ValueError | SourceError | SinkError)


def _usage(error: Exception) -> str:
    """What the parser says, and the help that goes with it."""
    says = one_line(str(getattr(error, "format_message", error.__str__)()))
    says = says.replace("Value error, ", "").rstrip(".")
    command = getattr(getattr(error, "ctx", None), "command_path", "edge")
    says = f"{says[:1].lower()}{says[1:]}".replace(". Did you mean", "; did you mean")
    return f"{says} See {command} --help" if says[-1] == "?" else f"{says}; see {command} --help"
