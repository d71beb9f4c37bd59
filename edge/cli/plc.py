"""`edge serve` and `edge plc`: what parses and prints."""

from __future__ import annotations

from enum import Enum
from itertools import groupby
from operator import itemgetter
from pathlib import Path
from typing import Annotated

import typer

from edge import console
from edge.cli import errors
from edge.cli.choices import EngineName

app = typer.Typer(no_args_is_help=True)


class BridgeChoice(str, Enum):
    """A bridge's name."""

    modbus = "modbus"
    opcua = "opcua"
    mqtt = "mqtt"


class OrderChoice(str, Enum):
    """Order of the bytes of 32-bit values in two registers."""

    ABCD = "ABCD"
    CDAB = "CDAB"
    BADC = "BADC"
    DCBA = "DCBA"


Json = Annotated[bool, typer.Option("--json", help="One JSON object on stdout.")]


def serve(
    source: Annotated[
        str | None,
        typer.Argument(help="Camera; files begin anew at their end. Default: of edge.toml."),
    ] = None,
    bridge: Annotated[
        list[BridgeChoice] | None, typer.Option(help="Repeat; default: station.bridges.")
    ] = None,
    bundle: Annotated[
        Path | None, typer.Option(help="Recipe 1. Default: station.recipes, or as edge stream.")
    ] = None,
    engine: Annotated[EngineName | None, typer.Option(help="Default auto.")] = None,
    deadline_ms: Annotated[
        float | None, typer.Option(help="From trigger to result, then REJECT; default 1000.")
    ] = None,
    monitor: Annotated[
        str | None, typer.Option(help="127.0.0.1:PORT of /healthz and /metrics.")
    ] = None,
    json: Json = False,
) -> None:
    """Inspect for a PLC, until Ctrl-C or SIGTERM."""
    from edge.plc.serve import Wishes, serve_until_stopped

    wishes = Wishes(
        source=source,
        bridges=tuple(one.value for one in bridge or ()),
        bundle=bundle,
        engine=engine.value if engine else None,
        deadline_ms=deadline_ms,
        monitor=monitor,
    )
    counters = serve_until_stopped(wishes, say=console.say)
    if json:
        console.print_json(counters)
    else:
        console.say(", ".join(f"{name} {value}" for name, value in counters.items() if value))


@app.command("map")
def print_map(
    bridge: Annotated[
        list[BridgeChoice] | None, typer.Option(help="Repeat; default: all of them.")
    ] = None,
    csv: Annotated[bool, typer.Option("--csv", help="For engineering tools.")] = False,
    json: Json = False,
) -> None:
    """Print registers, OPC UA nodes and MQTT topics, as edge.toml has them."""
    from edge.config import read_config
    from edge.plc.address_map import HEAD, PLACE, cells_of, csv_from_rows, texts_of
    from edge.plc.bridges import map_rows_of

    rows = map_rows_of(tuple(one.value for one in bridge or BridgeChoice), read_config())
    if json:
        names = (*HEAD, *PLACE)
        console.print_json({"rows": [dict(zip(names, cells_of(row), strict=True)) for row in rows]})
    elif csv:
        typer.echo(csv_from_rows(rows), nl=False)
    else:
        for name, group in groupby(map(texts_of, rows), key=itemgetter(0)):
            console.print_columns(name, HEAD[1:], (row[1:] for row in group))


@app.command()
def simulate(
    host: Annotated[str, typer.Option(help="Where edge serve is.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535, help="Of its Modbus bridge.")] = 5020,
    cycles: Annotated[int, typer.Option(min=1, help="Parts.")] = 100,
    scan_ms: Annotated[float, typer.Option(help="Between two looks at the registers.")] = 5.0,
    timeout_s: Annotated[float, typer.Option(help="The PLC's own timer, per step.")] = 5.0,
    order: Annotated[
        OrderChoice, typer.Option(help="As modbus.order in edge.toml.")
    ] = OrderChoice.ABCD,
    recipe: Annotated[int | None, typer.Option(min=1, help="Load it first.")] = None,
    json: Json = False,
) -> None:
    """Be a PLC: trigger, check, acknowledge; exit 1 if anything was wrong."""
    from edge.plc.simulate import Plan, simulate_plc

    plan = Plan(
        host=host,
        port=port,
        cycles=cycles,
        scan_s=scan_ms / 1e3,
        timeout_s=timeout_s,
        order=order.value,
        recipe=recipe,
    )
    outcome = simulate_plc(plan, say=console.say)
    if json:
        console.print_json(outcome.to_json())
    else:
        console.print_table(f"{host}:{port}", outcome.to_json().items())
    if not outcome.good:
        raise typer.Exit(errors.FAILURE)
