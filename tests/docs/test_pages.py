"""Every code block and every command of README.md and of the site runs."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from .pages import ROOT, blocks, lmht, pages, run, uses

REASONS = (
    "needs a camera",
    "needs a GPU",
    "needs a data set",
    "needs a file of your own",
    "needs an installation",
    "needs Lava",
    "waits for events",
    "takes minutes",
)
"""Why a block may be marked `<!-- not run: REASON -->`; more words may follow."""


def _name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module", autouse=True)
def one_thread() -> Iterator[None]:
    """Small networks gain nothing from more threads, and lose where the cores are shared."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `runs/digits` and `net.lmht`: a small network, trained for two epochs."""
    folder = tmp_path_factory.mktemp("prepared")
    run_folder, net = folder / "runs" / "digits", folder / "net.lmht"
    for command in (
        ("train", "digits", "--out", str(run_folder), "training.epochs=2"),
        ("convert", str(run_folder), "--out", str(net)),
    ):
        status, output = lmht(*command)
        assert status == 0, output
    return folder


@pytest.mark.parametrize("page", [page for page in pages() if blocks(page)], ids=_name)
def test_blocks_run(
    page: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    monkeypatch.chdir(tmp_path)
    if uses(page):
        shutil.copytree(request.getfixturevalue("prepared"), tmp_path, dirs_exist_ok=True)
    namespace: dict[str, Any] = {"__name__": "__main__"}
    for block in blocks(page):
        run(block, namespace)


def test_what_does_not_run_says_why(capsys: pytest.CaptureFixture[str]) -> None:
    found = [block for page in pages() for block in blocks(page)]
    left_out = [block for block in found if block.reason]
    unknown = [b.place for b in left_out if not b.reason.startswith(REASONS)]
    assert not unknown, f"give one of {REASONS}"
    runnable = [b for b in found if b.language in ("python", "console")]
    with capsys.disabled():
        print(f"\ndocumentation: {len(runnable) - len(left_out)} of {len(runnable)} blocks run")
        for reason, count in sorted(Counter(block.reason for block in left_out).items()):
            print(f"  not run, {reason}: {count}")
    assert len(left_out) < len(runnable) / 2


def test_the_example_is_the_one_of_the_readme() -> None:
    example = (ROOT / "examples" / "own_network.py").read_text()
    assert f"```python\n{example}```" in (ROOT / "README.md").read_text()
    lines = example.splitlines()
    assert len([line for line in lines if line and "import" not in line]) <= 20
    assert len([line for line in lines if "lmht_deploy" in line and "import" in line]) == 2


@pytest.mark.parametrize("command", ["train", "run", "compare", "convert"])
def test_the_reference_has_every_option(command: str) -> None:
    pytest.importorskip("mkdocs")
    from .test_site import generated

    page = generated("command_line").to_markdown()
    assert f"## `lmht {command}`" in page and "`--json`" in page
