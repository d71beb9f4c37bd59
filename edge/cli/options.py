"""The command line made from the models of `edge.options`; what else the commands share."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import typer
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from edge.fields import OptionsModel, OptionsType, path_from_text, shown_of
from process.wrong_values import place_and_reason, plain_type

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout.")]
BundleArgument = Annotated[Path, typer.Argument(metavar="BUNDLE", help="Folder of the bundle.")]


def takes_options(function: Callable[..., None]) -> Callable[..., None]:
    """Make of a function that takes options one that typer makes a command of.

    Each parameter whose type is an `OptionsModel` becomes an option, or an argument, for each of
    its fields. The function is given a model in which only what the user gave is set, which is
    what `edge.fields.overlay` wants.
    """
    hints = get_type_hints(function, include_extras=True)
    kinds: dict[str, type[OptionsModel]] = {
        name: hint
        for name, hint in hints.items()
        if inspect.isclass(hint) and issubclass(hint, OptionsModel)
    }
    parameters = [_keyword("ctx", typer.Context, inspect.Parameter.empty)]
    for name, parameter in inspect.signature(function).parameters.items():
        if name in kinds:
            parameters += _parameters(kinds[name])
        else:
            parameters.append(_keyword(name, hints[name], parameter.default))

    @functools.wraps(function)
    def command(*, ctx: typer.Context, **words: Any) -> None:
        for name, kind in kinds.items():
            own = {field: words.pop(field) for field in kind.model_fields if field in words}
            words[name] = _given(kind, own, ctx)
        function(**{name: _with_home(word) for name, word in words.items()})

    shown: Any = command  # what typer sees
    shown.__signature__ = inspect.Signature(parameters)
    shown.__annotations__ = {one.name: one.annotation for one in parameters}
    return command


def _with_home(word: Any) -> Any:
    """A word of a command itself; a path may begin with ``~``, as those of options may."""
    if isinstance(word, list | tuple):
        return [_with_home(one) for one in word]
    return path_from_text(word) if isinstance(word, Path) else word


def option_names(name: str, field: FieldInfo) -> str:
    """How a field is called on the command line; empty where it is not there."""
    shown = shown_of(field).name
    if shown is None:
        return ""
    names = shown or "--" + name.replace("_", "-")
    return f"{names}/--no-{names[2:]}" if plain_type(field.annotation)[0] is bool else names


def default_text(field: FieldInfo) -> str:
    """What holds without a word about a field; empty where nothing does."""
    default = field.default
    if default in (None, (), {}):
        return shown_of(field).unset
    if isinstance(default, bool):
        return "on" if default else "off"
    if isinstance(default, float):
        return f"{default:g}"
    return str(shown_of(field).example) if isinstance(default, tuple) else str(default)


def choices_of(field: FieldInfo) -> tuple[str, ...]:
    """Words of which a field takes one, or several; empty where it takes any."""
    plain = plain_type(field.annotation)[0]
    if get_origin(plain) is tuple:
        plain = get_args(plain)[0]
    return get_args(plain) if get_origin(plain) is Literal else ()


def bounds_of(field: FieldInfo) -> dict[str, float]:
    """The range of a number: those of ``ge``, ``gt``, ``le``, ``lt`` and ``multiple_of`` it has."""
    return {
        name: getattr(constraint, name)
        for constraint in (*field.metadata, *plain_type(field.annotation)[1])
        for name in ("ge", "gt", "le", "lt", "multiple_of")
        if hasattr(constraint, name)
    }


def _parameters(kind: type[OptionsModel]) -> Iterator[inspect.Parameter]:
    for name, field in kind.model_fields.items():
        names = option_names(name, field)
        if not names:
            continue
        default = default_text(field)
        of_type = _command_line_type(field.annotation)
        says = (field.description or "").rstrip(".")
        if of_type == list[str] and choices_of(field):  # typer knows no list of choices
            says += f": {', '.join(choices_of(field))}"
        says += f"; default {default}." if default else "."
        if names.startswith("-"):
            bounds = bounds_of(field) if of_type is int else {}
            several = "NAMES" if of_type == list[str] else None
            shown = typer.Option(
                names, help=says, metavar=several, min=bounds.get("ge"), max=bounds.get("le")
            )
        else:
            shown = typer.Argument(help=says, metavar=names)
        yield _keyword(name, Annotated[of_type | None, shown], None)


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    kind = inspect.Parameter.KEYWORD_ONLY
    return inspect.Parameter(name, kind, annotation=annotation, default=default)


def _command_line_type(annotation: Any) -> Any:
    """What typer reads: a plain type, a choice, or several; the model reads all else from words."""
    plain, _ = plain_type(annotation)
    if get_origin(plain) is tuple and get_args(plain)[-1] is Ellipsis:
        return list[str]
    is_known = plain in (bool, int, float, str, Path) or get_origin(plain) is Literal
    return plain if is_known else str


def _given(kind: type[OptionsType], words: dict[str, Any], ctx: typer.Context) -> OptionsType:
    """The model in which only what the user gave is set.

    Raises:
        typer.BadParameter: a word that makes no sense.
    """
    given = {name: word for name, word in words.items() if word not in (None, [], ())}
    try:
        return kind(**given)
    except ValidationError as error:
        place, reason = place_and_reason(error, kind)
        name = place.partition(".")[0]
        hint = option_names(name, kind.model_fields[name])
        raise typer.BadParameter(reason, ctx=ctx, param_hint=f"'{hint}'") from error
