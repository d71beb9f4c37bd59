"""A child of `cameras.child_process` that does what it is told.

python child.py LINK HEARTBEAT
"""

from __future__ import annotations

import ctypes
import os
import sys
import time
from dataclasses import dataclass

from cameras.parent_link import connect_to_parent


@dataclass(frozen=True)
class Order:
    """What to do: echo, exit, nonsense, print, loop, spin, hold, overdue."""

    what: str


@dataclass(frozen=True)
class Said:
    """What the child says: the order that it has carried out."""

    what: str


def main() -> None:
    """Carry out orders until the parent is gone."""
    parent = connect_to_parent(sys.argv[1:], (Order,))
    parent.heartbeat.count += 1
    while True:
        try:
            order = parent.link.receive()
        except EOFError:
            return
        match order.what:
            case "exit":
                sys.exit(7)
            case "nonsense":
                os.write(int(sys.argv[1]), b"{}")
                continue
            case "print":
                print("a line\nhalf a line", end="", flush=True)
            case "loop":
                while True:
                    pass
            case "spin":  # at work, and nothing else runs in this process
                sys.setswitchinterval(1000)
                while True:
                    pass
            case "hold":  # nothing else runs in this process meanwhile
                ctypes.PyDLL(None).usleep(600_000)
            case "overdue":
                parent.heartbeat.due_ns = time.monotonic_ns() - 1
        parent.link.send(Said(order.what))


if __name__ == "__main__":
    main()
