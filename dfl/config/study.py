"""`Study`: everything that one configuration file puts together."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, final, get_args

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dfl.budget import Budget
from dfl.config.assembly import Assembly, check_names, describe, spec_of
from dfl.config.dry_run import Check, check_allocation, check_parts
from dfl.config.evaluation import EvaluationSettings
from dfl.config.options import DATA, METHOD, SOLVER, PartType, Section
from dfl.data import AbstractDataSource, Columns, recognise
from dfl.errors import ConfigError
from dfl.methods import AbstractMethod
from dfl.solvers import AbstractSolver

__all__ = ["Study", "check_folder_name", "read_solver", "read_study"]

_BUDGET = PartType(Budget)
_EVALUATION = PartType(EvaluationSettings)
_LONGEST = 100  # with what is added to it, below the 255 bytes of any file system
_NAME = re.compile(r"(?!\.)[^/\\:*?\"<>|\x00-\x1f\x7f-\x9f]*[^/\\:*?\"<>|\x00-\x1f\x7f-\x9f .]")
_FLAT: tuple[Section, ...] = get_args(Section)


@final
class _Plain(BaseModel):
    """The sections that are single values."""

    model_config = ConfigDict(extra="ignore", strict=True)

    name: str | None = None
    seed: Annotated[int, Field(ge=0, lt=2**63)] = 0
    device: str = "cpu"


# What a configuration says when it does not say.
_DEFAULTS: Mapping[str, Any] = {
    "data": "coupon",
    "solver": "greedy-dual",
    "budgets": [{"share": 0.3}, {"share": 0.1}, {"share": 0.5}],
    "evaluation": {},
}


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Study:
    """One method on one data set, ready to run.

    Args:
        name: how reports call it.
        data: where rows come from.
        method: what learns.
        solver: allocates once the method has predicted.
        budgets: evaluated at; what a method trains for are its own ``budgets``.
        evaluation: estimator of the values, and bootstrap of their intervals.
        seed: of data, splits and training.
        device: where training runs.
        taken: flat section to the options that it was given to.
    """

    name: str
    data: AbstractDataSource
    method: AbstractMethod
    solver: AbstractSolver
    budgets: tuple[Budget, ...]
    evaluation: EvaluationSettings
    seed: int
    device: str
    taken: Mapping[str, tuple[str, ...]]

    @property
    def data_name(self) -> str:
        """How reports call the data: the file's name for an own file."""
        if isinstance(self.data, Columns) and self.data.path is not None:
            return Path(self.data.path).stem
        return DATA.name_of(self.data)

    @property
    def config(self) -> dict[str, Any]:
        """All of it as plain data, every option spelt out; `read_study` gives it back.

        Raises:
            ConfigError: if an option cannot be written as plain data.
            UnknownNameError: if a part was put in that has no name.
        """
        sections: dict[Section, object] = {}
        method = describe(self.method, METHOD, "method", sections=sections)
        return {
            "name": self.name,
            "data": describe(self.data, DATA, "data"),
            "method": method,
            "budgets": [_budget_to_dict(one) for one in self.budgets],
            **{key: sections[key] for key in _FLAT if key in sections},
            "solver": describe(self.solver, SOLVER, "solver"),
            "evaluation": describe(self.evaluation, _EVALUATION, "evaluation"),
            "seed": self.seed,
            "device": self.device,
        }

    def checks(self) -> tuple[Check, ...]:
        """Try every part on a toy problem; real rows are not touched."""
        return (*check_parts(self.method, METHOD), check_allocation(self.solver))

    def check(self) -> None:
        """Refuse parts that do not fit, or a device that is not there.

        Raises:
            ConfigError: at the first part that fails its dry check.
        """
        try:
            torch.zeros(1, device=self.device).item()
        except (RuntimeError, AssertionError, NotImplementedError) as error:  # none is there
            reason = str(error).splitlines()[0]
            raise ConfigError(f"device {self.device!r} cannot be used: {reason}") from error
        for one in self.checks():
            if one.problem is not None:
                raise ConfigError(f"{one.where} does not fit ({one.promise}): {one.problem}")


def read_study(config: Mapping[str, Any], *, offered: Collection[str] = ()) -> Study:
    """Build what a configuration describes.

    Args:
        config: sections, plain data.
        offered: sections that are left aside where no part takes them.

    Raises:
        ConfigError: for an unknown key or name, a wrong type, a value out of range, or a
            section that no part takes.
        MissingExtraError: if a part needs a package that is not installed.
    """
    plain = _plain(config)
    config = {**_DEFAULTS, **config}
    budgets = _budgets(config["budgets"])
    given: dict[Section, Any] = {key: config[key] for key in _FLAT if key in config}
    assembly = Assembly(given)
    method = assembly.build(METHOD, config["method"], "method")
    for section in given:
        if section not in {*assembly.taken, *offered}:
            raise ConfigError(
                f"{METHOD.name_of(method)} has no {section}, or is given one inside; remove the "
                "section."
            )
    alone = Assembly({})
    return Study(
        name=check_folder_name(METHOD.name_of(method) if plain.name is None else plain.name),
        data=alone.build(DATA, _data(config["data"]), "data"),
        method=method,
        solver=read_solver(config["solver"]),
        budgets=budgets,
        evaluation=alone.build(_EVALUATION, config["evaluation"], "evaluation"),
        seed=plain.seed,
        device=plain.device,
        taken={key: tuple(paths) for key, paths in assembly.taken.items()},
    )


def read_solver(given: object) -> AbstractSolver:
    """Build a solver from its name, or from options with the name among them.

    Raises:
        ConfigError: as `read_study`.
        MissingExtraError: if it needs a package that is not installed.
    """
    solver: AbstractSolver = Assembly({}).build(SOLVER, given, "solver")
    return solver


def _plain(config: Mapping[str, Any]) -> _Plain:
    """Check the names of all sections, and the sections that are single values."""
    known = ("data", "method", "budgets", "solver", "evaluation", *_FLAT, *_Plain.model_fields)
    check_names("sections", config, known, "")
    if "method" not in config:
        raise ConfigError("a configuration needs a method, such as 'method: tsm-sl'.")
    try:
        return _Plain.model_validate(dict(config))
    except ValidationError as error:
        first = error.errors()[0]
        raise ConfigError(f"{first['loc'][0]}: {first['msg']}, got {first['input']!r}.") from error


def check_folder_name(name: str) -> str:
    """Return a name that can be a folder's on any system.

    Raises:
        ConfigError: if it cannot.
    """
    if not _NAME.fullmatch(name) or len(name) > _LONGEST:
        raise ConfigError(
            f"name must be 1 to {_LONGEST} letters that can name a folder: no '.' at either end, "
            f'no blank at the end, no control character, none of / \\ : * ? " < > |; got {name!r}.'
        )
    return name


def _data(given: object) -> dict[str, Any]:
    """Return the data section with its name; a file without one is known by its columns."""
    spec = spec_of(given, "data")
    if "name" not in spec and isinstance(spec.get("path"), str):
        spec["name"] = "columns" if "treatment" in spec else recognise(spec["path"])
    if spec.get("features") == []:
        raise ConfigError(
            "data.features must name a column, or be left out for all columns without a role; "
            "without features all people look alike."
        )
    return spec


def _budgets(given: object) -> tuple[Budget, ...]:
    if not isinstance(given, list) or not given:
        raise ConfigError(f"budgets must be a list such as [{{share: 0.3}}], got {given!r}.")
    single = Assembly({})
    budgets: list[Budget] = [
        single.build(_BUDGET, one, f"budgets[{index}]") for index, one in enumerate(given)
    ]
    for budget in budgets:
        if budget.total is not None:
            raise ConfigError(
                "budgets of a run are given by per_head or share, got a total: training and test "
                "rows differ in number. A total is for 'dfl allocate'."
            )
    said = [str(one) for one in budgets]  # results are kept by these
    if twice := [one for one in said if said.count(one) > 1]:
        raise ConfigError(
            f"budgets must differ in their first six digits, got {twice[0]} more than once; leave "
            "the others out."
        )
    return tuple(budgets)


def _budget_to_dict(budget: Budget) -> dict[str, object]:
    return describe(budget, _BUDGET, "budget")
