"""`lmht zoo`: the trained networks that "zoo:NAME" stands for."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from lmht_deploy.errors import StorageError

from . import _options as options
from ._console import percent, say, show, table, write_json

if TYPE_CHECKING:
    from lmht_deploy.zoo import Card

COLUMNS = ("name", "task", "network", "float", "integer", "SOPs", "ms", "MB", "file")


def _names() -> list[str]:
    from lmht_deploy import zoo

    return [card.name for card in zoo.cards()]


def zoo(
    name: Annotated[
        str | None,
        typer.Argument(
            help="A network, to show its card and the commands that build it.",
            autocompletion=options.completion(_names),
        ),
    ] = None,
    check: Annotated[
        Path | None,
        typer.Option(
            "--check",
            metavar="FILE",
            help="Compare a file that you got elsewhere with the checksum of the card.",
            callback=options.is_file,
        ),
    ] = None,
    json: options.Json = None,
) -> None:
    """List trained networks. `zoo:NAME` stands for one wherever a network is read.

    Those with a recording have it under the same name: `lmht stream zoo:digits zoo:digits`.
    """
    from lmht_deploy import zoo as networks

    if check is not None and name is None:
        raise StorageError("--check needs the name of a network")
    if name is None:
        cards = networks.cards()
        _show_all(cards)
        write_json(json, {"networks": [_plain(card) for card in cards]})
        return
    card = networks.find_card(name.removeprefix(networks.PREFIX))
    if check is not None:
        networks.check_file(check, card.sha256)
        say(f"{check}: is the network {card.name}")
    else:
        _show_card(card)
    write_json(json, _plain(card))


def _show_all(cards: tuple[Card, ...]) -> None:
    rows = table("zoo", COLUMNS, left=("name", "task", "network", "file"))
    for card in cards:
        accuracies = (percent(card.accuracy_float), percent(card.accuracy_integer))
        figures = (f"{card.sops:,.0f}", f"{card.ms:.3f}", f"{card.bytes / 1e6:.2f}")
        rows.add_row(card.name, card.title, card.network, *accuracies, *figures, _place(card))
    show(rows)
    say("accuracy, SOPs and ms per window are those of the test split; lmht zoo NAME shows a card")


def _show_card(card: Card) -> None:
    values: dict[str, Any] = asdict(card)
    sample = values.pop("sample")
    for key, value in values.items():
        if key != "build" and value != "":
            say(f"{key.replace('_', ' ')}: {value}")
    say(f"file: {_place(card)}")
    say("commands that build it (of about the same accuracy: rounding differs between processors):")
    for command in card.build:
        say(f"  {command}")
    if sample is not None:
        say(f"recording: {sample['about']}; answers: {' '.join(sample['answers'])}")


def _place(card: Card) -> str:
    from lmht_deploy import zoo

    return "in the package" if zoo.has_network(card) else "not in the package"


def _plain(card: Card) -> dict[str, Any]:
    from lmht_deploy import zoo

    return {**asdict(card), "in_package": zoo.has_network(card)}
