"""Write the package `lmht.js` and the page, which holds the package, networks and a recording."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shutil
from pathlib import Path
from typing import Any

import lmht_deploy
from lmht_deploy import zoo
from lmht_deploy.analysis.energy import energy_model
from lmht_deploy.formats.flat import network_to_bytes

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "web" / "package"
PAGE = ROOT / "web" / "page"
VIEW = ROOT / "lmht_deploy" / "view" / "static"

ENERGY_MODELS = ("45nm-sops", "loihi1-sops")
"""Models that price SOPs alone."""
_MODULE_LINE = re.compile(r"^import .*\n|^export (?=\w)", re.MULTILINE)


def write_package(engine: bytes, folder: Path) -> None:
    """Write the package to an empty folder."""
    for path in PACKAGE.iterdir():
        shutil.copy(path, folder)
    shutil.copy(ROOT / "LICENSE", folder)
    (folder / "wasm.js").write_text(_wasm_module(engine))
    about = json.loads((PACKAGE / "package.json").read_text())
    about["version"] = lmht_deploy.__version__
    (folder / "package.json").write_text(json.dumps(about, indent=2) + "\n")


def write_page(engine: bytes, folder: Path) -> None:
    """Write the page to an empty folder. Its scripts are no modules, which a file cannot load."""
    for path in (PAGE / "index.html", PAGE / "page.css", VIEW / "view.css"):
        shutil.copy(path, folder)
    (folder / "page.js").write_text(script(engine, VIEW / "draw.js", PAGE / "page.js"))
    (folder / "examples.js").write_text(f"globalThis.EXAMPLES = {json.dumps(_examples())};\n")


def script(engine: bytes, *modules: Path) -> str:
    """Return one script of the package and other modules, in order."""
    sources = [
        _wasm_module(engine),
        *(path.read_text() for path in (PACKAGE / "lmht.js", *modules)),
    ]
    body = "\n".join(_MODULE_LINE.sub("", source) for source in sources)
    return f'(() => {{\n"use strict";\n{body}\n}})();\n'


def _wasm_module(engine: bytes) -> str:
    return f'// The engine: WebAssembly, gzip, base64.\nexport const WASM = "{_packed(engine)}";\n'


def _examples() -> dict[str, Any]:
    """Networks of the zoo as flat files, the recordings that come with them, and energy models."""
    networks, recordings = {}, {}
    for card in filter(zoo.has_network, zoo.cards()):
        content = network_to_bytes(lmht_deploy.load(f"zoo:{card.name}"))
        networks[card.name] = {"title": card.title, "content": _packed(content)}
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
