"""Errors of lmht-deploy.

Every mistake of a user raises one of these, and its message says what was wrong, where, and what
would be right:

    LmhtError
    ├── NetworkError         an invalid network
    ├── QuantizationError    a float network without a provable integer form
    ├── LoweringError        a model or a graph that cannot become a network
    ├── ExportError          a network that a target format cannot represent
    ├── StorageError         a file that cannot be read or written
    ├── BackendError         a backend that is unknown, missing or cannot run an artifact
    ├── DataError            input data, or a data set, that does not fit
    ├── RecipeError          an invalid training recipe
    └── TrainingError        a training run that cannot continue

`LmhtWarning` is the category of warnings.
"""

from __future__ import annotations

from collections.abc import Iterable

__all__ = [
    "BackendError",
    "DataError",
    "ExportError",
    "LmhtError",
    "LmhtWarning",
    "LoweringError",
    "NetworkError",
    "QuantizationError",
    "RecipeError",
    "StorageError",
    "TrainingError",
    "counted",
    "first_line",
    "listed",
    "show",
]


class LmhtError(Exception):
    """Root of all errors that a user of lmht-deploy can cause.

    Args:
        message: What was wrong. It becomes one line, also where it shows an array. What is not
            printable is escaped: the names in a file can be of anyone.
    """

    def __init__(self, message: object = "") -> None:
        text = str(message)
        line = " ".join(text.split()) if "\n" in text else text
        super().__init__(line if line.isprintable() else "".join(map(_visible, line)))


def _visible(character: str) -> str:
    return character if character.isprintable() else character.encode("unicode_escape").decode()


class LmhtWarning(UserWarning):
    """Something is done in a slower way than it was asked for, with the same result."""


class NetworkError(LmhtError):
    """A network whose fields, shapes, steps, ranges or 32-bit bounds are invalid."""


class QuantizationError(LmhtError):
    """A float network that no integer network with provable 32-bit accumulators represents."""


class LoweringError(LmhtError):
    """A PyTorch module, or a node of NIR, that cannot be expressed as a `Network`."""


class ExportError(LmhtError):
    """A network that a target format cannot represent, or an exporter that is not installed."""


class StorageError(LmhtError):
    """A file that cannot be written, or that is missing, damaged, of another kind or version."""


class BackendError(LmhtError):
    """An unknown backend, an artifact that it cannot run, or a missing optional package."""


class DataError(LmhtError):
    """Input data of a wrong shape, dtype or range, or a data set that cannot be found."""


class RecipeError(LmhtError):
    """A training recipe with an unknown key or an invalid value."""


class TrainingError(LmhtError):
    """A training run that cannot continue, such as after a loss that is not finite."""


def show(value: object) -> str:
    """Represent any value as one short line, for a message."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # the value's own code, or an integer of thousands of digits
        text = f"a value of type {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:77]}..."


def counted(number: int, noun: str, plural: str = "") -> str:
    """Return a number with its noun, for a message.

    Args:
        number: How many there are.
        noun: The noun in the singular.
        plural: Its plural, if it does not end in a plain "s".

    Example:
        >>> counted(1, "window"), counted(2000, "window")
        ('1 window', '2,000 windows')
    """
    return f"{number:,} {noun if number == 1 else plural or f'{noun}s'}"


def listed(words: Iterable[object], last: str = "and") -> str:
    """Return words as a list in a sentence.

    Args:
        words: At least one word.
        last: What precedes the last word.

    Example:
        >>> listed(["a", "b"]), listed("abc", "or")
        ('a and b', 'a, b, or c')
    """
    *first, end = map(str, words)
    if not first:
        return end
    return f"{', '.join(first)}{',' * (len(first) > 1)} {last} {end}"


def first_line(error: BaseException) -> str:
    """Return the first line of an error of another library, short and printable."""
    # A KeyError shows its text as Python source, in quotes.
    said = error.args[0] if isinstance(error, KeyError) and error.args else error
    text = (str(said).strip().splitlines() or [""])[0] or type(error).__name__
    plain = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
    return plain if len(plain) <= 300 else f"{plain[:297]}..."
