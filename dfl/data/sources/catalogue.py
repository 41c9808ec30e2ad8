"""The table of data names, and the functions that open or recognise any of them."""

from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

from dfl.data.sources.columns import Columns
from dfl.data.sources.published import AbstractPublished
from dfl.data.sources.reading import FORMATS, column_names, find_file
from dfl.data.sources.source import AbstractDataSource, AbstractTable, LoadedData
from dfl.errors import ConfigError, UnknownNameError
from dfl.registry import Registry, unknown_name

__all__ = ["DATASETS", "load", "open_source", "recognise"]

DATASETS: Registry[AbstractDataSource] = Registry(
    "data",
    AbstractDataSource,  # type: ignore[type-abstract]  # the interface itself, never instantiated
    {
        "columns": "dfl.data.sources.columns:Columns",
        "coupon": "dfl.data.simulators.coupon:CouponSimulator",
        "criteo": "dfl.data.sources.criteo:Criteo",
        "criteo-like": "dfl.data.simulators.criteo_like:CriteoLikeSimulator",
        "gotv": "dfl.data.sources.gotv:SocialPressure",
        "hillstrom": "dfl.data.sources.hillstrom:Hillstrom",
        "lazada": "dfl.data.sources.lazada:Lazada",
        "mt-lift": "dfl.data.sources.mt_lift:MTLift",
        "penn-bonus": "dfl.data.sources.penn_bonus:PennBonus",
        "rand-hie": "dfl.data.sources.rand_hie:RandHie",
        "simulated-experiment": "dfl.data.simulators.experiment:SimulatedExperiment",
        "starbucks": "dfl.data.sources.starbucks:Starbucks",
        "thornton-hiv": "dfl.data.sources.thornton_hiv:ThorntonHiv",
    },
)


_PARTS = ("obs", "validation", "test")


def open_source(
    name_or_path: object, *, path: str | Path | None = None, **options: Any
) -> AbstractDataSource:
    """Return whatever a name or a file stands for, ready to be split for any seed.

    Args:
        name_or_path: a name of `DATASETS`; or a file, which is recognised by its columns as
            a published data set, and else read as `Columns` by the roles given in
            ``options``; or a frame in memory (pandas, polars, Arrow and others), read as
            `Columns`, whose ``obs``, ``validation`` and ``test`` are frames or files.
        path: the file of a named data set; None: its usual names in ``DFL_DATA``.
        **options: fields of the class behind the name.

    Returns:
        A simulator, or the `LoadedData` of a file, already read and checked.

    Raises:
        UnknownNameError: if the name or an option is not known.
        ConfigError: if a file is neither recognised nor given roles, or a simulator a path.
        DataNotFoundError: if the file is not there.
        DataError: if the file cannot be read or is not what it claims to be.
        InvalidValueError: if an option or a value of the file is out of its range.
    """
    framed = any(not isinstance(options.get(part, ""), str | Path) for part in _PARTS)
    if framed or not isinstance(name_or_path, str | Path):
        if path is not None:
            raise ConfigError(f"a frame has no path, got {str(path)!r}; give one of the two.")
        parts = {part: options.pop(part) for part in _PARTS if part in options}
        return Columns(**_checked("columns", Columns, options)).of(name_or_path, **parts)
    name = str(name_or_path)
    if name not in DATASETS:
        file = _existing(name_or_path)
        name, path = "columns" if "treatment" in options else recognise(file), file
    kind = DATASETS.load(name)
    if path is not None and not issubclass(kind, AbstractTable):
        raise ConfigError(f"{name} is a simulator and reads no file, got path {str(path)!r}.")
    settings = options if path is None else {**options, "path": path}
    source = kind(**_checked(name, kind, settings))
    return source.load() if isinstance(source, AbstractTable) else source


def load(name_or_path: object, *, path: str | Path | None = None, **options: Any) -> LoadedData:
    """Return the rows of a data file or a frame; as `open_source`, without the simulators.

    Raises:
        UnknownNameError: if the name or an option is not known.
        ConfigError: if a file is neither recognised nor given roles, or the name is that of
            a simulator.
        DataNotFoundError: if the file is not there.
        DataError: if the file cannot be read or is not what it claims to be.
        InvalidValueError: if an option or a value of the file is out of its range.
    """
    source = open_source(name_or_path, path=path, **options)
    if not isinstance(source, LoadedData):
        raise ConfigError(
            f"{name_or_path} is a simulator and has no file to load; draw from it with its "
            "methods draw and hybrid."
        )
    return source


def recognise(file: str | Path) -> str:
    """Return the name of the published data set that a file belongs to, by its columns.

    Args:
        file: Parquet or CSV file, as it stands or inside the folder ``DFL_DATA``; its rows
            are not read.

    Raises:
        DataNotFoundError: if there is no such file.
        DataError: if its columns cannot be read.
        ConfigError: if it is none of them.
    """
    columns = set(column_names(find_file(file)))
    for name in DATASETS.names():
        kind = DATASETS.load(name)
        if issubclass(kind, AbstractPublished) and columns.issuperset(kind.card.columns):
            return name
    raise ConfigError(
        f"the columns of {file} are those of no published data set; say which column is the "
        "treatment, the revenue and the cost: options treatment, revenue, cost, ... (on the "
        f"command line --set data.treatment=...). It has {sorted(columns)}."
    )


def _existing(name_or_path: str | Path) -> Path:
    """Return the file, or complain about an unknown name where none can be meant."""
    if isinstance(name_or_path, Path) or name_or_path.endswith(FORMATS):
        return find_file(name_or_path)
    raise UnknownNameError(unknown_name("data", name_or_path, DATASETS.names()))


def _checked(name: str, kind: type[Any], options: dict[str, Any]) -> dict[str, Any]:
    if is_dataclass(kind):
        known = tuple(field.name for field in fields(kind))
        for option in options:
            if option not in known:
                raise UnknownNameError(unknown_name(f"options of {name}", option, known))
        _check_given(name, kind, options)
    return options


def _check_given(name: str, kind: type[Any], options: dict[str, Any]) -> None:
    needed = [
        field.name
        for field in fields(kind)
        if field.default is MISSING
        and field.default_factory is MISSING
        and field.name not in options
    ]
    if needed:
        raise ConfigError(f"{name} needs the options {needed}.")
