"""Backend of the Lava processes: a `.net` file in a child process."""

SUFFIX = ".net"


def missing() -> str | None:
    return "not built yet"
