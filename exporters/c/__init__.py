"""Network -> `.c` and `.h`: one freestanding C99 file for small machines, exact.

The file computes with integers alone. It needs no library, allocates nothing and calls no function
recursively. It is event-driven: for each output pixel, the weights of the active inputs are added,
one row of output channels per spike. All layers share the functions of `runtime.c`; what differs
between them is in constant tables.
"""

from __future__ import annotations

import re
from pathlib import Path

from lmht_deploy.errors import ExportError, show
from lmht_deploy.formats.files import atomic_write
from lmht_deploy.ir import Network, require_network

from ._plan import Plan
from ._source import WRITTEN, header, source

__all__ = ["export_c"]


def export_c(net: Network, path: str | Path, *, prefix: str = "lmht") -> None:
    """Write an integer network as C source, and its header beside it.

    Args:
        net: The network.
        path: The `.c` file; the `.h` file has the same name.
        prefix: First part of all names that the header declares.

    Raises:
        ExportError: If the network holds floats or needs 2 GiB of memory or more, if the prefix or
            the name of the file is not possible in C, or if the header would replace a file that
            this function did not write.
        StorageError: If a file cannot be written.
    """
    path = Path(path)
    if not require_network(net).integer:
        raise ExportError("C source holds integers, and this is a float network; quantize it first")
    if not (isinstance(prefix, str) and re.fullmatch(r"[a-z][a-z0-9_]*", prefix, re.ASCII)):
        raise ExportError(
            f"the prefix of the names in C is a lower-case word such as 'lmht', not {show(prefix)}"
        )
    if not re.fullmatch(r"[\w.+-]+", path.name, re.ASCII):
        raise ExportError(
            f"{path}: C source includes its header by name; use letters, digits and any of '_-+.' "
            "for it"
        )
    plan = Plan(net)
    include = path.with_suffix(".h")
    _check_header(include)
    with atomic_write(include) as temporary:
        temporary.write_text(header(net, plan, prefix), encoding="ascii")
    with atomic_write(path) as temporary:
        temporary.write_text(source(net, plan, prefix, include.name), encoding="ascii")


def _check_header(path: Path) -> None:
    """Raise ExportError if there is a file in the place of the header that is not such a header."""
    if not path.is_file():
        return
    with path.open("rb") as file:
        if WRITTEN.encode() not in file.read(200):
            raise ExportError(
                f"{path}: is where the header belongs, and lmht-deploy did not write this file; "
                "choose another name for the .c file, or remove it"
            )
