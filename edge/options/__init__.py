"""Every option of the commands and every key of `edge.toml`, each declared once.

`edge.config` reads `edge.toml` into these models; `edge.cli.options` makes the command line from
them; the example that `edge init` writes and docs/edge_toml.md are made from them too. The keys of
a PLC's bridge are in `edge.plc.BRIDGE.section`.
"""

from edge.options.build import PROTOTYPES, BuildOptions
from edge.options.compile import CompileOptions
    "GivenSettings",
