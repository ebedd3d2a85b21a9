"""Backend of the event-driven engine: a `.lmht` file on the CPU."""

SUFFIX = ".lmht"


def missing() -> str | None:
    return "not built yet"
