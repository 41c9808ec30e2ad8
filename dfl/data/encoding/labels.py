"""`AbstractLabelColumn`: a column of text, or of whole numbers that are codes."""

from dataclasses import dataclass, field

from dfl.data.encoding.base import AbstractFeatureColumn
from dfl.errors import DataError
from dfl.frames import Column, Factor

__all__ = ["AbstractLabelColumn", "categories_of"]


def categories_of(column: Column) -> Factor:
    """Return text, or whole numbers that are codes, as labels.

    Raises:
        DataError: if the column holds fractions, dates or anything else.
    """
    factor = column.factor() if column.kind != "other" else None
    whole = column.kind != "number" or (
        factor is not None
        and all(one.lstrip("-").isdigit() or one in ("False", "True") for one in factor.labels)
    )
    if factor is None or column.kind == "time" or not whole:
        raise DataError(
            f"column {column.name!r} must hold text or whole numbers to be encoded by category, "
            f"got {column.values.type}; a date that is named in dates becomes a number of days."
        )
    return factor


@dataclass(frozen=True)
class AbstractLabelColumn(AbstractFeatureColumn):
    """A column of labels, which mean what they meant in training.

    Args:
        name: column of the table.
        text: whether training had it as text, whatever its values look like elsewhere; if not, a
            number that comes as text is that number. None: not known.
    """

    text: bool | None = field(default=None, kw_only=True)

    def labels(self, column: Column) -> Factor:
        """Return the column as labels.

        Raises:
            DataError: if it holds no labels.
        """
        factor = categories_of(column)
        return factor.of_numbers() if self.text is False and column.is_text else factor
