"""Bootstrap draws of logged rows."""

from collections.abc import Iterator

from dfl.data.uplift_data import UpliftData
from dfl.stats.arrays import Counts
from dfl.stats.bootstrap import Bootstrap

__all__ = ["redrawn", "rows_key"]


def redrawn(data: UpliftData, bootstrap: Bootstrap) -> Iterator[Counts]:
    """Yield, draw by draw, how often each row was drawn; groups are drawn whole.

    Raises:
        InvalidValueError: if a treatment is too rare; see `Bootstrap.counts`.
    """
    groups = None if data.groups is None else data.groups.cpu().numpy()
    return bootstrap.counts(data.treatment.cpu().numpy(), arms=data.treatments, groups=groups)


def rows_key(data: UpliftData, bootstrap: Bootstrap) -> int:
    """Return a fingerprint of the rows and of how they are drawn again."""
    columns = (data.treatment, data.revenue, data.cost, data.groups)
    known = (column.detach().cpu().numpy() for column in columns if column is not None)
    return bootstrap.rows_key(known, len(data))
