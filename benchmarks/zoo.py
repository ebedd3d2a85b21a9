"""Add a network to the zoo: `python -m benchmarks.zoo NAME NET.lmht EVALUATION.json`.

NET.lmht is an integer network that `lmht convert` wrote, EVALUATION.json is what `lmht run NET.lmht
--data DATA --json EVALUATION.json` wrote on its test split. Their figures become the card
`lmht_deploy/zoo/NAME.toml`; the network is copied beside it, unless `--beside` is given because it
is too large for the package. Texts that are not given stay as the card has them.

`--sample N` also records the first N test recordings of the data set "digits", one after another;
`--sample ship` records a picture that `benchmarks.zoo_samples` draws. `python -m benchmarks.zoo
NAME --sample WHAT` writes the recording of a network that has a card already.
"""

from __future__ import annotations

import argparse
import json
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np

import lmht_deploy as lmht
from lmht_deploy.events.recordings import write_events
from lmht_deploy.ir import Network
from lmht_deploy.zoo import find_card, network_path, recording_path
from lmht_deploy.zoo._names import FOLDER, NETWORK, RECORDING

from .report import environment
from .zoo_samples import make_sample

TEXTS = ("title", "data_terms", "terms", "recipe", "machine", "note")
"""Keys of a card that nothing measures."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Write the card and the files of one network."""
    given = _parser().parse_args(arguments)
    path = FOLDER / f"{given.name}.toml"
    if given.network is None and given.sample:
        card = {key: value for key, value in _old(given.name).items() if key != "sample"}
        tables = {"sample": _sample(given.name, given.sample)}
        path.write_text(_to_toml(card, tables), encoding="utf-8")
        print(f"{path}: {recording_path(f'zoo:{given.name}').stat().st_size:,} bytes")
        return
    if given.evaluation is None:
        raise SystemExit("give a network and its evaluation, or --sample alone")
    net, evaluation = lmht.load(given.network), json.loads(given.evaluation.read_text())
    card = _texts(given) | _figures(net, evaluation, given.network)
    if not given.beside:
        shutil.copyfile(given.network, FOLDER / f"{given.name}{NETWORK}")
    tables = {"sample": _sample(given.name, given.sample)} if given.sample else _old_sample(given)
    path.write_text(_to_toml(card, tables), encoding="utf-8")
    if not given.beside:
        network_path(f"zoo:{given.name}")
    if tables:
        recording_path(f"zoo:{given.name}")
    print(f"{path}: accuracy {find_card(given.name).accuracy_integer:.2%}")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="benchmarks.zoo", description=__doc__)
    parser.add_argument("name")
    parser.add_argument("network", type=Path, nargs="?")
    parser.add_argument("evaluation", type=Path, nargs="?")
    parser.add_argument("--beside", action="store_true", help="the network is not in the package")
    parser.add_argument("--sample", default="", metavar="N|ship")
    parser.add_argument("--build", action="append", metavar="COMMAND", help="may be repeated")
    for text in TEXTS:
        parser.add_argument(f"--{text.replace('_', '-')}")
    return parser


def _old(name: str) -> dict[str, Any]:
    path = FOLDER / f"{name}.toml"
    return tomllib.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _old_sample(given: argparse.Namespace) -> dict[str, Any]:
    return {key: value for key, value in _old(given.name).items() if key == "sample"}


def _texts(given: argparse.Namespace) -> dict[str, Any]:
    """Texts of the card: the given ones, otherwise those that it has."""
    here = environment()
    old = {**_old(given.name), "machine": f"{here['cpu']}, tier {here['tier']}, 1 thread"}
    texts = {key: getattr(given, key) or old.get(key, "") for key in (*TEXTS, "build")}
    if missing := [key for key in (*TEXTS[:4], "build") if not texts[key]]:
        raise SystemExit(f"a new card needs --{missing[0].replace('_', '-')}")
    return texts


def _figures(net: Network, evaluation: Mapping[str, Any], path: Path) -> dict[str, Any]:
    """What is measured: accuracy, SOPs, time and size."""
    content = path.read_bytes()
    recipe = tomllib.loads(net.metadata["recipe"])["network"]
    return {
        "network": f"{recipe['architecture']}, L={recipe['levels']}, T={recipe['steps']}",
        "data": net.metadata["data"],
        "split_scheme": json.loads(net.metadata.get("split", "{}")).get("scheme", ""),
        "accuracy_float": float(net.metadata["accuracy of the trained network"]),
        "accuracy_integer": round(evaluation["accuracy"], 6),
        "windows": evaluation["windows"],
        "sops": round(float(sum(np.mean(sops) for sops in evaluation["sops"].values())), 1),
        "ms": round(evaluation["ms_per_window"], 3),
        "bytes": len(content),
        "sha256": sha256(content).hexdigest(),
    }


def _sample(name: str, what: str) -> dict[str, Any]:
    """Write a recording; return its table of the card."""
    sample = make_sample(what)
    path = FOLDER / f"{name}{RECORDING}"
    write_events(path, sample.recording)
    return {
        "about": sample.about,
        "sha256": sha256(path.read_bytes()).hexdigest(),
        "answers": sample.answers,
    }


def _to_toml(card: Mapping[str, Any], tables: Mapping[str, Mapping[str, Any]]) -> str:
    """JSON values are TOML values, besides null."""
    lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in card.items()]
    for name, values in tables.items():
        lines += ["", f"[{name}]"]
        lines += [
            f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()
        ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
