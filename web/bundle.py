"""Write the package `lmht.js` and the page, which holds the package, networks and a recording."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lmht_deploy
from lmht_deploy import zoo
from lmht_deploy.analysis.energy import energy_model
from lmht_deploy.formats import flat, lmht
from lmht_deploy.formats.schema import Field, Group

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "web" / "package"
SCRIPTS = ("errors.js", "arguments.js", "engine.js", "hdf5.js")
"""Files of the package that a page needs, without the workers, in order."""
PAGE = ROOT / "web" / "page"
VIEW = ROOT / "lmht_deploy" / "view" / "static"

ENERGY_MODELS = ("45nm-sops", "loihi1-sops")
"""Models that price SOPs alone."""
_PART = re.compile(r" *<!-- part: (\w+) -->\n(.*?) *<!-- end -->\n", re.DOTALL)
_PLACE = re.compile(r" *<!-- view: (\w+) -->\n")
_MODULE_LINE = re.compile(r"^(?:im|ex)port \{.*\n|^export (?=\w)", re.MULTILINE)


def write_package(engine: bytes, folder: Path) -> None:
    """Write the package to an empty folder."""
    for path in PACKAGE.iterdir():
        shutil.copy(path, folder)
    shutil.copy(ROOT / "LICENSE", folder)
    (folder / "wasm.js").write_text(_wasm_module(engine))
    (folder / "schema.js").write_text(_schema_module())
    about = json.loads((PACKAGE / "package.json").read_text())
    about["version"] = lmht_deploy.__version__
    (folder / "package.json").write_text(json.dumps(about, indent=2) + "\n")


def write_page(engine: bytes, folder: Path) -> None:
    """Write the page to an empty folder. Its scripts are no modules, which a file cannot load."""
    for path in (PAGE / "page.css", VIEW / "view.css"):
        shutil.copy(path, folder)
    (folder / "index.html").write_text(_with_parts((PAGE / "index.html").read_text()))
    (folder / "page.js").write_text(script(engine, VIEW / "draw.js", PAGE / "page.js"))
    (folder / "examples.js").write_text(f"globalThis.EXAMPLES = {json.dumps(_examples())};\n")


def _with_parts(page: str) -> str:
    """Insert the parts that the page shares with that of `lmht view`."""
    parts = dict(_PART.findall((VIEW / "index.html").read_text()))
    return _PLACE.sub(lambda place: parts[place[1]], page)


def script(engine: bytes, *modules: Path) -> str:
    """Return one script of the package, without its workers, and other modules, in order."""
    files = (*(PACKAGE / name for name in SCRIPTS), *modules)
    sources = [_wasm_module(engine), _schema_module(), *(path.read_text() for path in files)]
    body = "\n".join(_MODULE_LINE.sub("", source) for source in sources)
    return f'(() => {{\n"use strict";\n{body}\n}})();\n'


def _wasm_module(engine: bytes) -> str:
    return f'// The engine: WebAssembly, gzip, base64.\nexport const WASM = "{_packed(engine)}";\n'


def _schema_module() -> str:
    return f"// Keys of .lmht and .lmhtf files.\nexport const SCHEMA = {json.dumps(_schema())};\n"


def _schema() -> dict[str, Any]:
    """What hdf5.js has to know of both formats of networks."""
    return {
        "format": lmht.SCHEMA.format,
        "version": lmht.SCHEMA.version,
        "root": [field.name for field in lmht.SCHEMA.groups[0].fields],
        "layers": _types(lmht.LAYERS, flat.LAYERS),
        "synapses": _types(lmht.SYNAPSE_TYPES, flat.SYNAPSE_TYPES),
        "choices": flat.CHOICES,
        "flat": {
            "magic": flat.MAGIC.decode(),
            "version": flat.SCHEMA.version,
            "header": flat.HEADER.size,
            "checked": flat.CHECKED,
            "alignment": flat.ALIGNMENT,
        },
    }


def _types(named: Mapping[type, Group], places: Mapping[type, Group]) -> list[dict[str, Any]]:
    return [
        {"type": kind.__name__, "fields": list(map(_field, group.fields, places[kind].fields))}
        for kind, group in named.items()
    ]


def _field(named: Field, place: Field) -> dict[str, Any]:
    """A field of both formats, and the value that files of older versions have for it."""
    dtype, _, axes = place.dtype.partition(" ")
    found = {"name": place.name, "kind": place.kind, "dtype": dtype, "since": named.since}
    missing = (
        {"missing": flat.CHOICES[place.name][0]} if named.since > 1 and not named.optional else {}
    )
    return found | {"rank": len(axes.split(","))} | missing


def _examples() -> dict[str, Any]:
    """Networks of the zoo, the recordings that come with them, and energy models."""
    networks, recordings = {}, {}
    for card in filter(zoo.has_network, zoo.cards()):
        path = zoo.network_path(Path(f"zoo:{card.name}"))
        networks[path.name] = {"title": card.title, "content": _packed(path.read_bytes())}
        if card.sample is not None:
            path = zoo.recording_path(Path(f"zoo:{card.name}"))
            recordings[path.name] = {
                "title": card.sample.about,
                "content": _packed(path.read_bytes()),
            }
    models = [energy_model(name) for name in ENERGY_MODELS]
    energies = [{"title": it.title, "picojoules": it.picojoules["sop"]} for it in models]
    return {"networks": networks, "recordings": recordings, "energies": energies}


def _packed(content: bytes) -> str:
    return base64.b64encode(gzip.compress(content, 9, mtime=0)).decode()
