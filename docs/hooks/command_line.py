"""Render the reference of the command line from the commands themselves."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tables import table

DEFAULT_GROUP = "Options"
TYPES = {int: "INTEGER", float: "NUMBER", Path: "PATH"}
"""Placeholder of a value by its type, where an option names none."""


def to_markdown() -> str:
    """Return one section per command of `lmht`, in the order of `lmht --help`."""
    import typer.main

    from lmht_deploy.cli import app

    root = typer.main.get_command(app)
    return "\n\n".join(_section(path, command) for path, command in _commands(root, "lmht"))


def _commands(command: Any, path: str) -> Iterator[tuple[str, Any]]:
    """Yield every command that does work, depth first."""
    children = getattr(command, "commands", None)
    if not children:
        yield path, command
        return
    for name, child in children.items():
        if not child.hidden:
            yield from _commands(child, f"{path} {name}")


def _section(path: str, command: Any) -> str:
    arguments = [p for p in command.params if p.param_type_name == "argument"]
    options = [p for p in command.params if p.param_type_name == "option" and not p.hidden]
    parts = [f"## `{path}`", _text(command.help), _usage(path, arguments, options)]
    if arguments:
        rows = [(f"`{_metavar(p)}`", _text(p.help)) for p in arguments]
        parts.append(table(("argument", "meaning"), rows))
    if options:
        parts.append(table(("option", "default", "meaning"), _option_rows(options)))
    if command.epilog:
        parts.append(_example(command.epilog))
    return "\n\n".join(parts)


def _option_rows(options: list[Any]) -> Iterator[tuple[str, str, str]]:
    """Yield the options by group, each group after a row with its name."""
    groups = sorted(
        dict.fromkeys(_group(option) for option in options), key=lambda name: name != DEFAULT_GROUP
    )
    for group in groups:
        if len(groups) > 1:
            yield f"**{group}**", "", ""
        yield from (_option(option) for option in options if _group(option) == group)


def _usage(path: str, arguments: list[Any], options: list[Any]) -> str:
    required = [f"{p.opts[0]} {_metavar(p)}" for p in options if p.required]
    words = [path, *map(_metavar, arguments), *required, "[OPTIONS]"]
    return f"```text\n{' '.join(words)}\n```"


def _option(option: Any) -> tuple[str, str, str]:
    names = ", ".join(f"`{name}`" for name in [*option.opts, *option.secondary_opts])
    flag = getattr(option, "is_flag", False)
    return names + ("" if flag else f" `{_metavar(option)}`"), _default(option), _text(option.help)


def _default(option: Any) -> str:
    value = option.default
    if option.required:
        return "required"
    plain = value is None or value is False or callable(value) or "UNSET" in repr(value)
    return "" if plain else f"`{value}`"


def _metavar(parameter: Any) -> str:
    if parameter.metavar:
        return str(parameter.metavar)
    if parameter.param_type_name == "argument":
        return parameter.name.upper() + ("..." if parameter.nargs == -1 else "")
    described = getattr(parameter, "type_descriptor", None)
    kind = getattr(described, "annotation", None) or getattr(parameter, "type", str)
    return TYPES.get(kind, "TEXT")


def _group(option: Any) -> str:
    return getattr(option, "rich_help_panel", None) or DEFAULT_GROUP


def _text(text: str | None) -> str:
    return (text or "").replace("\b", "").strip()


def _example(epilog: str) -> str:
    lines = [line.removeprefix("Example:").strip() for line in epilog.strip().splitlines()]
    commands = "\n".join(f"$ {line}" for line in lines if line)
    return f"```console\n{commands}\n```"
