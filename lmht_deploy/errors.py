"""The one tree of errors. A message says what was wrong, where, and what would be right."""


class LmhtError(Exception):
    """Root of every error a user of lmht-deploy can cause; the CLI prints its message in one line."""


class NetworkError(LmhtError):
    """A network whose shapes, steps, ranges or 32-bit bounds do not hold; names the layer."""


class StorageError(LmhtError):
    """A file that is missing, truncated, foreign, damaged or of another version."""


class QuantizationError(LmhtError):
    """A float network that no integer network with provable 32-bit accumulators represents."""


class LoweringError(LmhtError):
    """A PyTorch module that cannot be expressed as a `Network`; names the module."""


class ExportError(LmhtError):
    """A network that a target format cannot carry; names the layer and a way out."""


class BackendError(LmhtError):
    """An unknown backend, an artifact it cannot run, or a missing optional package."""


class DataError(LmhtError):
    """Input data of a wrong shape, dtype or range, or a data set that is not where it should be."""


class RecipeError(LmhtError):
    """A training recipe with an unknown key or a value out of range."""


class TrainingError(LmhtError):
    """A training run that cannot go on: a loss that is not finite, no checkpoint to resume from."""
