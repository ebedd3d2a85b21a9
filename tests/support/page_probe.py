"""Headless Chromium: what a page looks like to a browser, and pictures of it."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
DARK = "--blink-settings=preferredColorScheme=0"
LIGHT = "--blink-settings=preferredColorScheme=1"
RESULT = re.compile(r'<pre id="probe">(.*?)</pre>', re.DOTALL)


@cache
def find_chromium() -> str | None:
    """Path of the browser; None if there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


def start(profile: Path, page: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Open `page` in a new browser with `options`, until it has loaded."""
    browser = find_chromium()
    if browser is None:
        pytest.skip("Chromium is not installed")
    command = [browser, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    own = [f"--user-data-dir={profile}", "--enable-logging=stderr", *options, page.as_uri()]
    return subprocess.run([*command, *own], capture_output=True, text=True, check=True, timeout=120)


def probe(
    folder: Path, page: Path, script: str, *, width: int = 1000, dark: bool = False
) -> tuple[dict[str, Any], list[str]]:
    """Run `script` in a copy of `page` and return its value, and the messages of the console.

    The policy of the page, which forbids scripts, is left out of the copy.
    """
    text = page.read_text(encoding="utf-8")
    text = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    code = (
        "<script>addEventListener('load', () => { const found = (() => {" + script + "})();"
        "const out = document.createElement('pre'); out.id = 'probe';"
        "out.textContent = JSON.stringify(found); document.body.append(out); });</script>"
    )
    copy = folder / f"probe-{width}-{dark}.html"
    copy.write_text(text.replace("</head>", f"{code}</head>"), encoding="utf-8")
    scheme = DARK if dark else LIGHT
    done = start(folder / "profile", copy, "--dump-dom", scheme, f"--window-size={width},900")
    found = RESULT.search(done.stdout)
    assert found, done.stderr[-2000:]
    messages = [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
    return json.loads(html.unescape(found[1])), messages


def console(folder: Path, page: Path) -> list[str]:
    """Open `page` as it is and return the messages of the console."""
    done = start(folder / "profile", page, "--dump-dom")
    return [line for line in done.stderr.splitlines() if ":CONSOLE" in line]
