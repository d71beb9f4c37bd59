"""The recipes of a station: their bundles, and what is given in place of the bundles' settings."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cameras.errors import ImageError
from edge.config import Config, ConfigError, find_bundle
from edge.fields import overlay
from edge.given import GivenSettings
from edge.inspection.settings import settings_in_use
from edge.options.serve import RecipeSection
from edge.plc.station.messages import JudgeOptions
from engines.bundle import Bundle
from engines.choose import engine_on
from engines.errors import BundleError


def judge_options(config: Config) -> JudgeOptions:
    """How the worker inspects, as `edge.toml` under the command line has it.

    Raises:
        ConfigError: no source, no bundle, or a recipe that is none.
    """
    station = config.station
    source = station.source or next(iter(config.stream.source), None)
    if source is None:
        raise ConfigError(
            "no source: name one, such as /dev/video0, or set station.source in edge.toml"
        )
    if station.bundle is not None or station.recipes is None:
        recipes = {station.recipe: RecipeSection(bundle=find_bundle(station.bundle, config))}
    else:
        recipes = station.recipes
    if station.recipe not in recipes:
        raise ConfigError(
            f"edge.toml: station.recipe {station.recipe}: not one of station.recipes, "
            f"{', '.join(map(str, recipes))}"
        )
    for recipe_id, recipe in recipes.items():
        if not (recipe.bundle / "manifest.json").is_file():
            raise ConfigError(
                f"recipe {recipe_id}: {recipe.bundle}: no bundle; make one with `edge build`"
            )
    return JudgeOptions(
        recipes={recipe_id: str(recipe.bundle) for recipe_id, recipe in recipes.items()},
        source=source,
        engine=engine_on(station.engine, station.device),
        warm_up=station.warm_up,
        deadline_ms=station.deadline_ms,
        settle_ms=station.settle_ms,
        stall_after_s=station.stall_after_s,
        self_test_s=config.life.self_test_s,
        given=GivenSettings.from_options(config.stream),
        bit_depth=station.bit_depth or config.stream.bit_depth,
        free=station.mode == "free",
        watch_bundles=config.life.watch_bundles,
        given_of={
            recipe_id: GivenSettings.from_options(
                overlay(RecipeSection, config.stream, recipe),
                where=f"station.recipes.{recipe_id}",
            )
            for recipe_id, recipe in recipes.items()
        },
    )


def say_recipes(judge: JudgeOptions, *, say: Callable[[str], None]) -> None:
    """Show what each recipe decides with, and refuse settings that make no sense.

    A bundle that is damaged is left to the worker, which tries again once it is whole.

    Raises:
        ConfigError: a threshold, smallest area, mask or region that cannot be.
    """
    for recipe_id, path in judge.recipes.items():
        given = judge.given_for(recipe_id)
        try:
            settings = settings_in_use(Bundle.open(Path(path)), given, say=say)
        except BundleError as error:
            say(f"recipe {recipe_id}: {error}")
            continue
        except (ImageError, ValueError) as error:
            raise ConfigError(f"edge.toml: {given.where}: {error}") from error
        mask = (
            f", ignoring {given.ignore or 'what the bundle does'}"
            if settings.ignore is not None
            else ""
        )
        say(
            f"recipe {recipe_id}: {path}, threshold {settings.threshold:g}, "
            f"min_area {settings.min_area}{mask}"
        )
