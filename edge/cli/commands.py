"""Which commands `edge` has, and how each of them ends.

A command's own module is imported when it is called, so that `edge --help` is quick.
"""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from edge.cli import errors
from process.signals import ending_line

COMMANDS = {  # in the order in which they are used: where each is, and what it does
    "demo": ("build:demo", "Draw a production line, learn it and inspect it; needs no data."),
    "init": ("build:init", "Write a commented edge.toml."),
    "capture": ("capture:capture", "Save a camera's frames as pictures of good parts."),
    "check": ("check:check", "Check good images before anything is learnt from them."),
    "build": ("build:build", "Learn an inspector from good images and write its bundle."),
    "evaluate": ("measure:evaluate", "Measure a bundle on labelled images."),
    "stream": ("stream:stream", "Inspect cameras, streams, videos or images."),
    "review": ("review:app", "Look through inspected parts, mark them, export them."),
    "compare": ("measure:compare", "Measure and time several bundles side by side."),
    "bench": ("measure:bench", "Time the engine, and everything from frame to verdict."),
    "info": ("plans:info", "Show what a bundle is and how its threshold was set."),
    "set": ("set:change", "Change settings of a bundle without building it again."),
    "teach": ("teach:teach", "Teach a bundle parts that it judged wrongly; shows what changes."),
    "promote": ("versions:promote", "Put a candidate in the place of the bundle at work."),
    "rollback": ("versions:roll_back", "Put an earlier version of a bundle in its place."),
    "compile": ("plans:compile_plans", "Compile a bundle's TensorRT plans ahead of time."),
    "serve": ("plc:serve", "Inspect for a PLC until Ctrl-C or SIGTERM."),
    "studio": ("studio:studio", "Serve a page for all of it, from the camera to handover."),
    "doctor": ("doctor:doctor", "Show what this machine has and what is missing."),
    "backbone": ("build:backbone", "Export a backbone as an ONNX file."),
    "plc": ("plc:app", "Print the map that PLCs see, or be a PLC to try with."),
}


class _Commands(TyperGroup):
    """Replaces a command's placeholder by the command itself when it is called."""

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        name, placeholder, rest = super().resolve_command(ctx, args)
        return name, name and placeholder and _command(name), rest


app = typer.Typer(
    name="edge",
    cls=_Commands,
    help="Turn pictures of good parts into an inspector.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for _name, (_, _summary) in COMMANDS.items():
    app.command(_name, help=_summary)(lambda: None)


def _command(name: str) -> Any:
    """Import a command; its parameters are read from its function's signature."""
    place, summary = COMMANDS[name]
    module, _, attribute = place.partition(":")
    found = getattr(import_module(f"edge.cli.{module}"), attribute)
    alone = typer.Typer(help=summary, add_completion=False, rich_markup_mode=None)
    if isinstance(found, typer.Typer):
        alone.add_typer(found, name=name, help=summary)
        return typer.main.get_group(alone).commands[name]
    alone.command(name, help=summary)(found)
    return typer.main.get_command(alone)


def _print_version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"protoedge {version('protoedge')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Take the options of `edge` itself."""


def run() -> int:
    """Run the command of `sys.argv`; an error ends as one line on stderr, never a traceback.

    Returns:
        The exit code.
    """
    os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # what matters is said by us, in one line
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        errors.refuse_empty_words(sys.argv[1:])
        return int(app(standalone_mode=False) or 0)
    except (KeyboardInterrupt, typer.Abort):
        return _say(ending_line(signal.SIGINT), errors.INTERRUPTED)
    except BrokenPipeError:  # whoever read has gone, such as `head`: the end, and nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return errors.FAILURE
    except Exception as error:  # the border: every error becomes a line
        if os.environ.get("EDGE_DEBUG"):
            raise
        if errors.is_help(error):
            sys.stderr.write(f"{error}\n")
            return errors.USAGE
        return _say(*errors.line_and_code_from_error(error))


def _say(line: str, code: int) -> int:
    from edge.console import printable  # late, for `edge --help`

    sys.stderr.write(printable(f"edge: {errors.one_line(line)}") + "\n")
    return code
