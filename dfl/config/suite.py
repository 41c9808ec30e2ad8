"""`Suite`: methods, data sets and seeds that are studied together."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal, final, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dfl.config.assembly import check_names, spec_of
from dfl.config.options import Section
from dfl.config.study import Study, check_folder_name, read_study
from dfl.config.yaml_text import from_yaml, read_yaml
from dfl.errors import ConfigError, MissingExtraError
from dfl.registry import unknown_name

__all__ = ["Suite", "load_suite", "read_suite", "suite_names", "suite_summary"]

_EXAMPLES = {"data": "coupon", "methods": "tsm-sl"}
_ADDED = ("training", "evaluation")  # sections whose options add up; others replace each other
_SHARED: tuple[str, ...] = (*get_args(Section), "budgets", "solver", "evaluation", "device")
_OF_DATA = ("data", "optional", "seeds_at_once", *_SHARED)
_OF_METHOD = ("method", "optional", *get_args(Section))


@final
class _Plain(BaseModel):
    """What a suite says in single values."""

    model_config = ConfigDict(extra="ignore", strict=True)

    name: str
    seeds: Annotated[int, Field(ge=1)] = 20
    first_seed: Annotated[int, Field(ge=0, lt=2**62)] = 0
    seeds_at_once: Annotated[int, Field(ge=1)] = 4
    keep_predictions: bool = False
    reference: str | None = None
    only: list[str] = []
    paper: dict[str, dict[str, str]] = {}


@final
class _Data(BaseModel):
    """What a data set of a suite says beside sections."""

    model_config = ConfigDict(extra="ignore", strict=True)

    optional: bool = False
    seeds_at_once: Annotated[int | None, Field(ge=1)] = None


@final
class _Method(BaseModel):
    """What a method of a suite says beside sections."""

    model_config = ConfigDict(extra="ignore", strict=True)

    optional: bool = False


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Suite:
    """Every method on every data set, over the same seeds.

    Args:
        name: of the suite.
        studies: labels of data set and method to what runs, data set by data set; all studies
            of a data set agree in data, budgets and evaluation.
        seeds: each draws or splits the data, and trains.
        reference: label of the method that differences are taken to.
        seeds_at_once: label of a data set to the seeds that train together there.
        optional: labels of data sets that are left out where their file, or the package that
            brings it, is not there.
        left_out: why methods that are optional were left out: their package is not installed.
        keep_predictions: whether predictions of the test rows are kept.
        paper: heading to published numbers by method, shown beside the measured ones.
        config: all of it as plain data; `read_suite` gives it back.
    """

    name: str
    studies: Mapping[tuple[str, str], Study]
    seeds: range
    reference: str
    seeds_at_once: Mapping[str, int]
    optional: frozenset[str]
    left_out: tuple[str, ...]
    keep_predictions: bool
    paper: Mapping[str, Mapping[str, str]]
    config: Mapping[str, Any]

    @property
    def data(self) -> tuple[str, ...]:
        """Labels of the data sets, in order."""
        return tuple(dict.fromkeys(data for data, _ in self.studies))

    @property
    def methods(self) -> tuple[str, ...]:
        """Labels of the methods, in order."""
        return tuple(dict.fromkeys(method for _, method in self.studies))


def read_suite(config: Mapping[str, Any]) -> Suite:
    """Build what a suite's configuration describes.

    A study of the suite has the sections of the suite, those of its data set and those of its
    method, of which a later one replaces an earlier one; options of ``training`` and
    ``evaluation`` add up. What suite and data set say is left aside by methods that have no
    such part; a method or data set with ``optional: true`` is left out where what it needs is
    not there.

    Args:
        config: plain data. ``data`` and ``methods`` map labels to sections, where an empty
            entry stands for the data set or method of that name; beside them what `Suite`
            lists, ``first_seed``, ``only`` (labels of methods and data sets; the others are
            left out) and the sections of a configuration that all studies share.

    Raises:
        ConfigError: as `read_study`; if a label cannot name a folder or comes twice, a data
            set or method is missing, or the reference is no method.
        MissingExtraError: if a part needs a package that is not installed.
    """
    check_names(
        "sections of a suite", config, ("data", "methods", *_Plain.model_fields, *_SHARED), ""
    )
    plain = _validated(_Plain, config, "")
    data = _entries(config, "data", _OF_DATA)
    methods = _entries(config, "methods", _OF_METHOD)
    reference = plain.reference or next(iter(methods))
    if reference not in methods:
        raise ConfigError(f"reference: {unknown_name('methods', reference, methods)}")
    for heading, rows in plain.paper.items():
        if unknown := [one for one in rows if one not in methods]:
            raise ConfigError(f"paper.{heading}: {unknown_name('methods', unknown[0], methods)}")
    kept_data, kept_methods = _kept(plain.only, data, methods)
    shared = {key: config[key] for key in _SHARED if key in config}
    own = {label: _validated(_Data, data[label], f"data.{label}.") for label in kept_data}
    studies: dict[tuple[str, str], Study] = {}
    left_out: dict[str, str] = {}
    for one in kept_data:
        for other in (label for label in kept_methods if label not in left_out):
            try:
                studies[one, other] = _study(shared, data[one], methods[other], (one, other))
            except MissingExtraError as error:
                if not _validated(_Method, methods[other], f"methods.{other}.").optional:
                    raise
                left_out[other] = f"{other} is left out: {error}"
    if not studies:
        raise ConfigError(f"nothing is left of the suite. {' '.join(left_out.values())}")
    return Suite(
        name=check_folder_name(plain.name),
        studies=studies,
        seeds=range(plain.first_seed, plain.first_seed + plain.seeds),
        reference=reference,
        seeds_at_once={
            label: one.seeds_at_once or plain.seeds_at_once for label, one in own.items()
        },
        optional=frozenset(label for label, one in own.items() if one.optional),
        left_out=tuple(left_out.values()),
        keep_predictions=plain.keep_predictions,
        paper=plain.paper,
        config=dict(config),
    )


def suite_names() -> tuple[str, ...]:
    """Return the names of the suites that ship with dfl, sorted."""
    names = (entry.name for entry in files("dfl").joinpath("configs", "suites").iterdir())
    return tuple(sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml")))


def suite_summary(name: str) -> str:
    """Return the comment on the first line of a shipped suite."""
    return _shipped(name).partition("\n")[0].removeprefix("# ")


def load_suite(source: str) -> dict[str, Any]:
    """Read a suite's configuration.

    Args:
        source: name of a shipped suite, or path of a YAML file.

    Returns:
        Its sections; ``name`` is set, from the file's name where the file does not say.

    Raises:
        DataNotFoundError: if a path names no file.
        ConfigError: if the name is unknown, or the file holds no configuration.
    """
    path = Path(source)
    if path.suffix in (".yaml", ".yml") or len(path.parts) > 1:
        return {"name": path.stem, **read_yaml(path)}
    if source not in suite_names():
        raise ConfigError(
            f"{unknown_name('suites', source, suite_names())} A file's name ends in .yaml."
        )
    return {"name": source, **from_yaml(_shipped(source), f"the shipped suite {source}")}


def _shipped(name: str) -> str:
    return files("dfl").joinpath("configs", "suites", f"{name}.yaml").read_text(encoding="utf-8")


def _study(
    shared: Mapping[str, Any],
    data: Mapping[str, Any],
    method: Mapping[str, Any],
    labels: tuple[str, str],
) -> Study:
    offered: dict[str, Any] = dict(shared)
    for part in (data, method):
        for section in (one for one in part if one in _SHARED):
            value = part[section]
            if section in _ADDED:
                value = spec_of(offered.get(section), section) | spec_of(value, section)
            offered[section] = value
    config = {**offered, "data": data["data"], "method": method["method"], "name": labels[1]}
    try:
        return read_study(config, offered=[key for key in offered if key not in method])
    except ConfigError as error:
        raise ConfigError(f"{labels[1]} on {labels[0]}: {error}") from error


def _entries(
    config: Mapping[str, Any], section: Literal["data", "methods"], known: Sequence[str]
) -> dict[str, dict[str, Any]]:
    """Return label to sections, each with its data set or method in it."""
    given = config.get(section)
    if not isinstance(given, Mapping) or not given:
        raise ConfigError(
            f"{section} of a suite must map labels to sections, such as '{section}: "
            f"{{{_EXAMPLES[section]}: {{}}}}', got {given!r}."
        )
    found: dict[str, dict[str, Any]] = {}
    for label, entry in given.items():
        where = f"{section}.{label}"
        if not isinstance(label, str):
            raise ConfigError(
                f"{section}: a label must be a word, got {label!r}; put it in quotes."
            )
        if not isinstance(entry, Mapping | None):
            raise ConfigError(f"{where} must hold sections, or {{}}, got {entry!r}.")
        check_names("sections", entry or {}, known, where)
        own = section.removesuffix("s")
        found[check_folder_name(label)] = {own: label, **(entry or {})}
    if len({label.casefold() for label in found}) < len(found):
        raise ConfigError(f"labels of {section} must differ in more than capitals: {[*found]}.")
    return found


def _kept(only: Sequence[str], *tables: Mapping[str, Any]) -> list[list[str]]:
    """Return the labels of each table that are wanted: all where none of it is named."""
    known = [label for table in tables for label in table]
    for one in only:
        if one not in known:
            raise ConfigError(f"only: {unknown_name('methods and data sets', one, known)}")
    return [[one for one in table if one in only] or [*table] for table in tables]


def _validated(model: Any, given: Mapping[str, Any], where: str) -> Any:
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(str(one) for one in first["loc"])
        raise ConfigError(f"{where}{place}: {first['msg']}, got {first['input']!r}.") from error
