"""`lmht`: one module per verb."""


def main() -> None:
    raise SystemExit("not yet")
