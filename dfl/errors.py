"""Errors that dfl raises on purpose.

Every one derives from `DflError` and from the built-in a caller would expect, so both
``except DflError`` and ``except ValueError`` work. A message names the argument, what was
expected, what came, and what to do. The docstring of an error says what usually causes it and
what usually helps; ``dfl help`` prints it, and docs/errors.md holds them all.
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
    "SampleRatioError",
    "ShapeError",
    "UnknownNameError",
    "UnsupportedProblemError",
    "WriteError",
]


class DflError(Exception):
    """Root of every deliberate error of this package."""


class ShapeError(DflError, ValueError):
    """A tensor has the wrong number of dimensions or the wrong size.

    Usual cause: one row or treatment too many in one of several tensors that belong together; a
    model that was trained on other columns; ``(N,)`` where ``(N, M)`` is meant.

    What helps: the message names the argument, the shape that was expected and the one that came.
    Revenue and cost are ``(people, treatments)``, features are ``(people, features)``.
    """


class DTypeError(DflError, TypeError):
    """A tensor has the wrong dtype, or tensors that belong together lie on two devices.

    Usual cause: whole numbers where amounts are meant; float32 beside float64; half of the tensors
    on an accelerator.

    What helps: ``.float()`` or ``.double()`` on all of them, ``.long()`` on treatments,
    ``.to(device)`` on what lies elsewhere.
    """


class InvalidValueError(DflError, ValueError):
    """A number is outside its range: NaN, infinite, negative cost, unknown treatment.

    Usual cause: missing amounts in a table; a refund booked as a negative cost; an option beyond
    its range; the same file as input and output.

    What helps: the message says which rows or which option. Drop or fill missing amounts before
    loading; book refunds as revenue. Features may miss values: ``missing: impute``.
    """


class InfeasibleProblemError(DflError, ValueError):
    """No allocation meets all the constraints together.

    Usual cause: capacities, masks, frozen decisions and budgets that clash; a target above what
    everyone's best treatment earns.

    What helps: the message lists the limits. Take away one at a time, the newest first; or plan
    with ``--what-if 1.2`` to see from which amounts on there is a plan.
    """


class InfeasibleBudgetError(InfeasibleProblemError):
    """No allocation costs as little as the budget.

    Usual cause: the cheapest treatment costs something, and the budget is below its sum over all
    people; a budget per head where a total is meant, or the other way round.

    What helps: the message says what the cheapest allocation costs. Give at least so much, or add a
    treatment that costs nothing.
    """


class UnsupportedProblemError(DflError, ValueError):
    """A solver or layer was given a problem with a feature that it does not handle.

    Usual cause: several limits for a solver of one budget, a mask for a layer without one, a budget
    that no multiplier meets.

    What helps: the message says which feature. The tables of docs/solvers.md and docs/layers.md say
    who handles it; ``--solver cutting-planes`` or ``mixed-integer`` take limits of every kind.
    """


class UnknownNameError(DflError, LookupError):
    """A name is not in the registry of its family.

    Usual cause: a misspelt name, or a package of one's own that is not installed.

    What helps: the message lists what is known and the nearest match; ``dfl list`` says what each
    name is.
    """


class DuplicateNameError(DflError, ValueError):
    """A name is registered twice in one family.

    Usual cause: two installed packages bring a part under the same name.

    What helps: the message says where the first one lives. Rename one's own, or uninstall the
    other.
    """


class MissingExtraError(DflError, ImportError):
    """An optional package is not installed.

    Usual cause: a part that needs more than dfl itself, such as the causal forest or the solver of
    OR-tools.

    What helps: the command in the message; ``dfl doctor`` lists every extra and what it lacks.
    """


class NotConvergedError(DflError, RuntimeError):
    """An iterative method stopped before it reached its tolerance.

    Usual cause: an inner problem that is not strictly convex, or badly scaled; too few steps; a
    tolerance below what float32 can reach.

    What helps: more steps (``max_iter``), a looser ``rtol``, damping, or float64; the message says
    how far it got. ``on_failure="return"`` takes the answer as it is.
    """


class ProcessError(DflError, RuntimeError):
    """Another process of those that work together has gone.

    Usual cause: one of torchrun's processes ran out of memory, or was killed; what it said itself
    stands above.

    What helps: start again with ``--resume``; fewer processes, or smaller batches, where memory ran
    out.
    """


class ConfigError(DflError, ValueError):
    """A configuration has an unknown key, a wrong type, or parts that do not fit.

    Usual cause: a misspelt option, quotes around a number, a layer in a method without one; options
    of the command line that exclude each other.

    What helps: the message lists the known keys. ``dfl explain`` shows what a configuration puts
    together and tries each part on a toy problem.
    """


class DataError(DflError, ValueError):
    """A data file is unreadable, truncated, or not the file it claims to be.

    Usual cause: a download that broke off, a column with another name, text in a column of numbers,
    a category that training never saw; a run folder whose files were changed by hand.

    What helps: the message names file, column and first row. For new categories and gaps train with
    ``unknown: other`` and ``missing: impute``; a damaged file has to be fetched or made again.
    """


class DataNotFoundError(DflError, FileNotFoundError):
    """A data file is not where it was looked for.

    Usual cause: a path from another working folder, or ``DFL_DATA`` that is not set.

    What helps: the message says where was looked and where public files come from. Give a whole
    path, or set ``DFL_DATA`` to the folder that holds them; ``dfl doctor`` says what is found.
    """


class RunFolderError(DflError, FileExistsError):
    """A run folder exists already, or is not a run folder.

    Usual cause: a second run into the same ``-o``; a run that is still going on there; a folder of
    another command.

    What helps: another ``-o``, or ``--resume`` to go on with what stopped. Nothing in an existing
    folder was touched.
    """


class WriteError(DflError, OSError):
    """A file could not be written; whatever stood there before is untouched.

    Usual cause: a full disk, a folder without the right to write, a path that names a folder.

    What helps: make room or choose another place, then the same command again; a run goes on with
    ``--resume``.
    """


class SampleRatioError(DflError, ValueError):
    """The sizes of an experiment's arms contradict the plan: it was not randomised as planned.

    Usual cause: shares that were planned but not given (``--share``); units that were lost in one
    arm, by logging, filters or bots; users whose rows are counted where users were randomised.

    What helps: the message names the sizes and those planned. Give the plan by ``--share``, and
    what was randomised by ``--clusters``; where units were lost, find out why: no estimate can
    repair that.
    """
