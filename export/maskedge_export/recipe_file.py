"""Reads a training recipe: a TOML file -> frozen options, every key known and its value of the right type."""

import difflib
import tomllib
from collections.abc import Collection
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from maskedge_export.errors import RecipeError
from maskedge_export.recipe import Recipe, require

__all__ = ["load_recipe"]

DEFAULTS = Recipe()


def load_recipe(path: Path, base: Recipe = DEFAULTS, ignored: Collection[str] = ()) -> Recipe:
    """The recipe of a TOML file.

    Args:
        path: The file. The corpus files and the start that it names are relative to its directory, and made absolute.
        base: What the options are that it leaves out.
        ignored: Sections that are as in `base`, whatever the file says of them.

    Raises RecipeError, naming the key, for a file that is missing or no TOML, an unknown section or key (with the
    closest known one), and a value of the wrong type or out of range.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise RecipeError(f"recipe {path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe {path} is no TOML: {error}") from error
    try:
        return _recipe(tables, path.parent, base, ignored)
    except RecipeError as error:
        raise RecipeError(f"recipe {path}: {error}") from None


def _recipe(tables: dict[str, Any], directory: Path, base: Recipe, ignored: Collection[str]) -> Recipe:
    sections = get_type_hints(Recipe)
    for name, table in tables.items():
        _known(name, sections, "section")
        require(isinstance(table, dict), f"{name!r} stands outside a section; sections are {', '.join(sections)}")
    _check_start(tables)
    options = {name: _section(getattr(base, name), name, table) for name, table in tables.items()}
    if "start" in tables.get("model", {}):
        options["model"] = replace(options["model"], start=_located(options["model"].start, directory))
    if "files" in tables.get("corpus", {}):
        files = tuple(str((directory / file).absolute()) for file in options["corpus"].files)
        options["corpus"] = replace(options["corpus"], files=files)
    return replace(base, **{name: section for name, section in options.items() if name not in ignored})


def _located(checkpoint: str, directory: Path) -> str:
    """A directory's absolute path; what is no directory is a Hub id."""
    found = directory / checkpoint
    return str(found.absolute()) if checkpoint and found.is_dir() else checkpoint


def _check_start(tables: dict[str, Any]) -> None:
    """Nothing else may be said of what a start brings along."""
    model = tables.get("model", {})
    if "start" in model:
        others = [f"model.{key}" for key in model if key != "start"] + ["[tokenizer]"] * ("tokenizer" in tables)
        require(not others, f"model.start brings its own tokenizer, layout and sizes; leave out {', '.join(others)}")


def _section(base: Any, name: str, table: dict[str, Any]) -> Any:
    """A table's options; those that it leaves out are the base's."""
    hints = get_type_hints(type(base))
    for key in table:
        _known(key, {field.name: field for field in fields(base)}, f"key in [{name}]")
    return replace(base, **{key: _value(value, hints[key], f"{name}.{key}") for key, value in table.items()})


def _known(name: str, known: dict[str, Any], what: str) -> None:
    if name not in known:
        close = difflib.get_close_matches(name, known, 1, cutoff=0.5)
        advice = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(known)}"
        raise RecipeError(f"unknown {what}: {name!r}; {advice}")


def _value(value: Any, kind: Any, name: str) -> Any:
    """A TOML value as the type that its key has."""
    if get_origin(kind) is Literal:
        require(value in get_args(kind), f"{name} is {value!r}; choose one of {', '.join(get_args(kind))}")
        return value
    if get_origin(kind) is tuple:
        require(isinstance(value, list), f"{name} is {value!r}; give a list")
        return tuple(_value(item, get_args(kind)[0], name) for item in value)
    if kind is float and type(value) is int:
        return float(value)
    require(type(value) is kind, f"{name} is {value!r}; give {_NAMES[kind]}")
    return value


_NAMES = {str: "a string", int: "a whole number", float: "a number", bool: "true or false"}
