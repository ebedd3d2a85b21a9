"""Optional packages: the command in an error message works, however lmht-deploy was installed."""

from __future__ import annotations

import importlib.util
import subprocess
import sys

import pytest

from lmht_deploy._packages import install_command, require_package
from lmht_deploy.errors import DataError


def test_a_missing_package_is_named_with_the_command_that_installs_it() -> None:
    require_package("numpy", "events")
    with pytest.raises(
        DataError,
        match=r"the package 'absent' is not installed; run: pip install 'lmht-deploy\[events\]'",
    ):
        require_package("absent", "events")


@pytest.mark.skipif(importlib.util.find_spec("pip") is None, reason="needs pip")
def test_pip_extends_the_installed_package_without_an_index() -> None:
    """An installation from a folder or a repository is in no index: pip must not need one."""
    requirement = install_command("demo").split("'")[1]
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--no-index", "--no-deps"]
    done = subprocess.run([*command, requirement], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert f"Requirement already satisfied: {requirement}" in done.stdout
