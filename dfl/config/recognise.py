"""Tells which published data set a file is, by its columns, without reading its rows."""

from dfl.data import DATASETS, AbstractPublished
from dfl.data.files import find_file
from dfl.errors import ConfigError

__all__ = ["recognise"]


def recognise(path: str) -> str:
    """Return the name of the published data set that a file belongs to.

    Args:
        path: Parquet or CSV file, as it stands or inside the folder ``DFL_DATA``.

    Raises:
        DataNotFoundError: if there is no such file.
        DataError: if its columns cannot be read.
        ConfigError: if it is none of them.
    """
    # pandas takes a while to import, and only a file without a name needs it.
    from dfl.data.reading import column_names

    columns = set(column_names(find_file(path)))
    for name in DATASETS.names():
        kind = DATASETS.load(name)
        if issubclass(kind, AbstractPublished) and columns.issuperset(kind.card.columns):
            return name
    raise ConfigError(
        f"data: {path} is no published data set; say which column is the treatment, the revenue "
        "and the cost: --set data.treatment=..., or options of the section data. It has "
        f"{sorted(columns)}."
    )
