"""The command `edge`: streams and signals first, then everything else.

Whatever is large is imported when signals are heard already: a program that is told to end while
it starts does so, even as the first process of a container.
"""

from __future__ import annotations

import contextlib
import os
import sys

from process.signals import Ended, ending_line, hearing_signals
from process.threads import FAILURES


def main() -> None:
    """Run the command; errors end as one line on stderr and an exit code, never a traceback."""
    _open_missing_streams()
    code = 0
    try:
        with hearing_signals():
            FAILURES.watch_foreign_threads()
            from edge.cli.commands import run

            code = run()
    except Ended as ended:
        code = 128 + ended.number
        with contextlib.suppress(OSError):
            sys.stderr.write(f"edge: {ending_line(ended.number)}\n")
    sys.exit(code)


def _open_missing_streams() -> None:
    """Let a standard stream that was closed, as by ``>&-``, be ``/dev/null``.

    Otherwise Python has none, and the next file that is opened gets its number: what a library
    prints would go into it.
    """
    for number, (name, mode) in enumerate((("stdin", "r"), ("stdout", "w"), ("stderr", "w"))):
        if getattr(sys, name) is not None:
            continue
        descriptor = os.open(os.devnull, os.O_RDWR)
        if descriptor == number:
            os.set_inheritable(descriptor, True)
        setattr(sys, name, os.fdopen(descriptor, mode, encoding="utf-8", closefd=False))
