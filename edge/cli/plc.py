"""`edge serve` and `edge plc`: what parses and prints."""

from __future__ import annotations

from itertools import groupby
from operator import itemgetter
from typing import Annotated, get_args

import typer

from edge import console
from edge.cli import errors
from edge.cli.options import Json, takes_options
from edge.config import read_config
from edge.fields import OptionsModel, option
from edge.options import BridgeName, Bridges, LifeOptions, ServeOptions
from edge.plc.simulate import SimulationOptions, simulate_plc

app = typer.Typer(no_args_is_help=True)


class MapOptions(OptionsModel):
    """What `edge plc map` prints."""

    bridges: Bridges = option(
        get_args(BridgeName), "Bridges whose map to print.", name="--bridge", example="all of them"
    )


@takes_options
def serve(given: ServeOptions, life: LifeOptions, json: Json = False) -> None:
    """Serve until a signal comes; print what was counted."""
    from edge.plc.serve import serve_until_stopped

    config = read_config().override(station=given, life=life)
    counters = serve_until_stopped(config, say=console.say)
    if json:
        console.print_json(counters)
    else:
        console.say(", ".join(f"{name} {value}" for name, value in counters.items() if value))


@app.command("map", help="Print registers, OPC UA nodes and MQTT topics.")
@takes_options
def print_map(
    options: MapOptions,
    csv: Annotated[
        bool, typer.Option("--csv", help="Print CSV for engineering tools, with more columns.")
    ] = False,
    json: Json = False,
) -> None:
    """Print registers, OPC UA nodes and MQTT topics, as edge.toml has them."""
    from edge.plc.address_map import HEAD, PLACE, cells_of, csv_from_rows, texts_of
    from edge.plc.bridges import map_rows_of

    rows = map_rows_of(options.bridges, read_config())
    if json:
        names = (*HEAD, *PLACE)
        console.print_json({"rows": [dict(zip(names, cells_of(row), strict=True)) for row in rows]})
    elif csv:
        typer.echo(csv_from_rows(rows), nl=False)
    else:
        for name, group in groupby(map(texts_of, rows), key=itemgetter(0)):
            console.print_columns(name, HEAD[1:], (row[1:] for row in group))


@app.command(help="Be a PLC that triggers, checks and acknowledges.")
@takes_options
def simulate(options: SimulationOptions, json: Json = False) -> None:
    """Be a PLC: trigger, check, acknowledge; exit 1 if anything was wrong."""
    outcome = simulate_plc(options, say=console.say)
    if json:
        console.print_json(outcome.to_json())
    else:
        console.print_table(f"{options.host}:{options.port}", outcome.to_json().items())
    if not outcome.good:
        raise typer.Exit(errors.FAILURE)
