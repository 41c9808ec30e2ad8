"""Errors that dfl raises on purpose.

Every one derives from `DflError` and from the built-in a caller would expect, so both
``except DflError`` and ``except ValueError`` work. A message names the argument, what was
expected, what came, and what to do.
"""

__all__ = [
    "ConfigError",
    "DTypeError",
    "DataError",
    "DataNotFoundError",
    "DflError",
    "DuplicateNameError",
    "InfeasibleBudgetError",
    "InfeasibleProblemError",
    "InvalidValueError",
    "MissingExtraError",
    "NotConvergedError",
    "ProcessError",
    "RunFolderError",
    "ShapeError",
    "UnknownNameError",
    "UnsupportedProblemError",
    "WriteError",
]


class DflError(Exception):
    """Root of every deliberate error of this package."""


class ShapeError(DflError, ValueError):
    """A tensor has the wrong number of dimensions or the wrong size."""


class DTypeError(DflError, TypeError):
    """A tensor has the wrong dtype, or tensors that belong together lie on two devices."""


class InvalidValueError(DflError, ValueError):
    """A number is outside its range: NaN, infinite, negative cost, unknown treatment."""


class InfeasibleProblemError(DflError, ValueError):
    """No allocation meets all the constraints together."""


class InfeasibleBudgetError(InfeasibleProblemError):
    """No allocation costs as little as the budget."""


class UnsupportedProblemError(DflError, ValueError):
    """A solver or layer was given a problem with a feature that it does not handle."""


class UnknownNameError(DflError, LookupError):
    """A name is not in the registry of its family."""


class DuplicateNameError(DflError, ValueError):
    """A name is registered twice in one family."""


class MissingExtraError(DflError, ImportError):
    """An optional package is not installed."""


class NotConvergedError(DflError, RuntimeError):
    """An iterative method stopped before it reached its tolerance."""


class ProcessError(DflError, RuntimeError):
    """Another process of those that work together has gone."""


class ConfigError(DflError, ValueError):
    """A configuration has an unknown key, a wrong type, or parts that do not fit."""


class DataError(DflError, ValueError):
    """A data file is unreadable, truncated, or not the file it claims to be."""


class DataNotFoundError(DflError, FileNotFoundError):
    """A data file is not where it was looked for."""


class RunFolderError(DflError, FileExistsError):
    """A run folder exists already, or is not a run folder."""


class WriteError(DflError, OSError):
    """A file could not be written; whatever stood there before is untouched."""
