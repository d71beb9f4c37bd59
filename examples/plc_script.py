"""A plain script: inspect inside this process, one part after another.

python examples/plc_script.py build/bottle.edge images/test/good
"""

from __future__ import annotations

import sys
from pathlib import Path

import edge


def main(bundle: str, images: str) -> None:
    """Inspect every image of a folder."""
    with edge.load(bundle) as inspector:
        slowest = inspector.warm_up()  # explicit: the first part is as quick as the others
        print(f"{inspector.engine_reason}; {slowest:.1f} ms an inspection")
        for path in sorted(Path(images).iterdir()):
            for result in inspector.stream(path):
                good = result.verdict is edge.Verdict.OK  # NG and ERROR both reject
                print(
                    f"{path.name}: {'accept' if good else 'reject'} {result.score} {result.reason}"
                )


if __name__ == "__main__":
    main(*sys.argv[1:])
