"""The site builds without warnings, and its pages load nothing from other hosts."""

from __future__ import annotations

import importlib
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from .pages import ROOT

pytest.importorskip("mkdocs")

HOOKS = ROOT / "docs" / "hooks"
LOADED = re.compile(r'<(?:script|img|iframe|source)[^>]+src="(https?:[^"]+)"|@import[^;]+http[^;]+')
STYLES = re.compile(r'<link[^>]+rel="?(?:stylesheet|preconnect|icon)[^>]+href="(https?:[^"]+)"')


def generated(module: str) -> ModuleType:
    """Import one of the modules that generate pages."""
    if str(HOOKS) not in sys.path:
        sys.path.insert(0, str(HOOKS))
    return importlib.import_module(module)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return folder


def test_pages_load_nothing_from_elsewhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        text = page.read_text(encoding="utf-8")
        assert not LOADED.findall(text) and not STYLES.findall(text), page


def test_nothing_is_left_to_generate(site: Path) -> None:
    for page in site.rglob("*.html"):
        assert "<!-- generate:" not in page.read_text(encoding="utf-8"), page


def test_every_recipe_command_and_error_is_documented(site: Path) -> None:
    from lmht_deploy import errors
    from lmht_deploy.training.recipe import packaged

    def text(name: str) -> str:
        return (site / "reference" / name).read_text(encoding="utf-8")

    for name in packaged():
        assert name in text("recipes.html"), name
    for name in (n for n in vars(errors) if n.endswith("Error")):
        assert name in text("errors.html"), name


def test_every_public_name_is_documented(site: Path) -> None:
    import lmht_deploy
    from lmht_deploy import training

    pages = [page.read_text(encoding="utf-8") for page in (site / "reference").glob("*.html")]
    documented = {
        name for page in pages for name in re.findall(r'id="lmht_deploy[\w.]*\.(\w+)"', page)
    }
    assert set(lmht_deploy.__all__) - documented <= {"__version__", "data"}
    assert set(training.__all__) - documented <= {"ARCHITECTURES"}
