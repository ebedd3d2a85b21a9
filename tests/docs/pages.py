"""Find the code blocks of Markdown pages and run them."""

from __future__ import annotations

import contextlib
import doctest
import io
import re
import shlex
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]

SHOWN = {"text", "json", "yaml", "bibtex", "c", "cmake", "cpp", "js"}
"""Languages of blocks that only show something."""
WRITTEN = {"toml"}
"""Languages of blocks that become a file, where the block has a title."""

_FENCE = re.compile(
    r"^(?P<indent> *)```(?P<info>[^`\n]*)\n(?P<code>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL
)
_COMMENT = re.compile(r"<!-- (?P<key>not run|exits with|uses): (?P<value>.+?) -->\s*\Z")
_USES = re.compile(r"^<!-- uses: (.+?) -->$", re.M)
_TITLE = re.compile(r'title="([^"]+)"')


@dataclass(frozen=True)
class Block:
    """One fenced block.

    Attributes:
        page: File that contains it.
        line: Line of its first code line, 1-based.
        language: First word after the fence.
        title: Name of the file that the block shows; empty where it has none.
        code: Text, without the indentation of the fence.
        reason: Why the block is not run; empty where it is.
        status: Exit code that its commands must have.
    """

    page: Path
    line: int
    language: str
    title: str
    code: str
    reason: str
    status: int

    @property
    def place(self) -> str:
        """Page and line, as in `docs/index.md:12`."""
        return f"{self.page.relative_to(ROOT)}:{self.line}"


def pages() -> list[Path]:
    """Return README.md and every page of the site."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of `page`, in order."""
    text = page.read_text(encoding="utf-8")
    return [_block(page, text, found) for found in _FENCE.finditer(text)]


def uses(page: Path) -> list[str]:
    """Return the names of the prepared files that `page` needs (`<!-- uses: ... -->`)."""
    return [name for found in _USES.findall(page.read_text()) for name in found.split()]


def _block(page: Path, text: str, found: re.Match[str]) -> Block:
    comment = _COMMENT.search(text[: found.start()])
    key, value = (comment["key"], comment["value"]) if comment else ("", "")
    indent = len(found["indent"])
    title = _TITLE.search(found["info"])
    return Block(
        page=page,
        line=text[: found.start("code")].count("\n") + 1,
        language=found["info"].split()[0] if found["info"].strip() else "",
        title=title[1] if title else "",
        code="".join(line[indent:] or "\n" for line in found["code"].splitlines(keepends=True)),
        reason=value if key == "not run" else "",
        status=int(value) if key == "exits with" else 0,
    )


def run(block: Block, namespace: dict[str, Any]) -> None:
    """Run `block` in the current folder.

    Raises:
        AssertionError: A command failed, or the block has an unknown language.
    """
    if block.reason or block.language in SHOWN:
        return
    if block.language in WRITTEN:
        if block.title:
            Path(block.title).write_text(block.code, encoding="utf-8")
    elif block.code.startswith(">>> "):
        _doctest(block, namespace)
    elif block.language == "python":
        # The line number of the page appears in tracebacks.
        code = "\n" * (block.line - 1) + block.code
        exec(compile(code, str(block.page), "exec"), namespace)
    elif block.language == "console":
        for command in commands(block):
            _command(block, command)
    else:
        raise AssertionError(f"{block.place}: unknown language {block.language!r}")


def _doctest(block: Block, namespace: dict[str, Any]) -> None:
    """Run an interactive session and compare what it prints."""
    parser, runner = doctest.DocTestParser(), doctest.DocTestRunner(verbose=False)
    test = parser.get_doctest(block.code, namespace, block.place, str(block.page), block.line - 1)
    printed = io.StringIO()
    failed = runner.run(test, out=printed.write, clear_globs=False).failed
    assert not failed, printed.getvalue()


def commands(block: Block) -> Iterator[str]:
    """Yield the commands of a console block: lines after `$ `, joined where they end in `\\`."""
    for line in block.code.replace("\\\n", " ").splitlines():
        if line.startswith("$ "):
            yield line[2:].partition("  #")[0].strip()


def _command(block: Block, command: str) -> None:
    words = shlex.split(command)
    if words[0] == "mkdir":
        Path(words[-1]).mkdir(parents=True, exist_ok=True)
    elif words[0] == "cp":
        shutil.copy(words[1], words[2])
    else:
        assert words[0] == "lmht", f"{block.place}: cannot run {command!r}"
        status, output = lmht(*words[1:])
        assert status == block.status, f"{block.place}: {command!r} exited with {status}\n{output}"


def lmht(*arguments: str) -> tuple[int, str]:
    """Run a command of `lmht` in this process; return its exit code and what it printed."""
    from lmht_deploy.cli import main

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            main(arguments)
        except SystemExit as end:
            return int(end.code or 0), printed.getvalue()
    sys.stdout.flush()
    return 0, printed.getvalue()
