"""Errors about JSON that no command wrote."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any

from lmht_deploy.errors import DataError, show

from ._document import Report

Make = Callable[[Mapping[str, Any]], Report]


def of_command(command: str) -> Callable[[Make], Make]:
    """Decorate a function that makes a report: JSON that does not fit raises DataError.

    Args:
        command: Command that writes the JSON.
    """

    def decorate(make: Make) -> Make:
        @functools.wraps(make)
        def checked(content: Mapping[str, Any]) -> Report:
            try:
                return make(content)
            except (AttributeError, IndexError, KeyError, TypeError, ValueError) as error:
                raise DataError(
                    f"the content is not the JSON of `{command}`: "
                    f"{type(error).__name__} {show(str(error))}"
                ) from error

        return checked

    return decorate


def check_schema(content: Mapping[str, Any], command: str, schema: str, version: int) -> None:
    """Raise DataError unless `content` states the schema and the version that are understood.

    Args:
        content: JSON of a command.
        command: The command.
        schema: Name of the schema.
        version: Its version.
    """
    if (content["schema"], content["version"]) != (schema, version):
        raise DataError(
            f"a report needs the JSON of `{command}`, schema {schema!r} version {version}, not "
            f"{show(content['schema'])} version {show(content['version'])}"
        )
