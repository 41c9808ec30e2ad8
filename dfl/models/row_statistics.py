"""Statistics of all training rows, also where each of several processes has some of them."""

import torch
from torch import Tensor

from dfl.scale import gathered, over_ranks, over_rows, power_of_two, rows_apart

__all__ = ["constant_per_arm", "mean_and_spread", "modes", "quantiles", "root_mean_square"]

_ROWS_TO_CALL_CONSTANT = 100
_KNOTS = 127
_LEAST_MODE = 0.05  # share of the rows from which a most frequent value counts as one


def mean_and_spread(values: Tensor) -> tuple[Tensor, Tensor]:  # (N, ...) -> (...)
    """Return mean and standard deviation over the rows; of a constant itself and exactly 0."""
    if not rows_apart():
        mean, spread = values.mean(dim=0), values.std(dim=0, correction=0)
        low, high = values.aminmax(dim=0)  # rounding makes a mean of 0.1 differ from 0.1
        return torch.where(low == high, low, mean), torch.where(low == high, 0.0, spread)
    lowest = _lowest(values)
    rows, wide = _rows(values), values.double() - lowest
    mean = over_ranks(wide.sum(dim=0)) / rows
    variance = over_ranks((wide - mean).square().sum(dim=0)) / rows
    return (lowest + mean).to(values), variance.sqrt().to(values)


def root_mean_square(values: Tensor) -> Tensor:  # (N,) -> ()
    """Return the root of the mean square over the rows; their squares need not be floats."""
    if not rows_apart():
        unit = power_of_two(values.abs().amax())  # rounds nothing
        return (values / unit).square().mean().sqrt() * unit
    return (over_ranks(values.double().square().sum()) / _rows(values)).sqrt().to(values)


def constant_per_arm(cost: Tensor, treatment: Tensor, treatments: int) -> Tensor:
    """Return each arm's cost where all its rows, at least 100, share one value, else NaN."""
    lowest = cost.new_full((treatments,), float("inf"))
    lowest = lowest.scatter_reduce(0, treatment, cost, "amin")
    highest = cost.new_full((treatments,), float("-inf"))
    highest = highest.scatter_reduce(0, treatment, cost, "amax")
    if rows_apart():
        ends = gathered((lowest.cpu(), highest.cpu()))
        lowest = torch.stack([low for low, _ in ends]).amin(dim=0).to(cost)
        highest = torch.stack([high for _, high in ends]).amax(dim=0).to(cost)
    counts = over_rows(torch.bincount(treatment, minlength=treatments))
    known = (lowest == highest) & (counts >= _ROWS_TO_CALL_CONSTANT)
    return torch.where(known, lowest, lowest.new_tensor(float("nan")))


def quantiles(columns: Tensor) -> Tensor:  # (F, N) -> (F, Q)
    """Return the values at equal steps of each sorted column, the lower one between two."""
    apart = rows_apart()
    count = _rows(columns.T) if apart else columns.shape[1]
    places = torch.arange(1, _KNOTS + 1, device=columns.device) * count // (_KNOTS + 1)
    ordered = columns.sort(dim=1).values
    return _at_places(ordered, places) if apart else ordered[:, places].contiguous()


def modes(columns: Tensor) -> Tensor:  # (F, N) -> (F,)
    """Return each column's most frequent value, the least of several, NaN where it is rare."""
    found = [column.unique(return_counts=True) for column in columns]
    rows = columns.shape[1]
    if rows_apart():
        found = [
            _frequent(values, counts, counts >= _LEAST_MODE * rows) for values, counts in found
        ]
        rows = _rows(columns.T)
    nan = columns.new_tensor(torch.nan)
    most = [
        (values[counts.argmax()], counts.max()) if len(values) else (nan, counts.new_zeros(()))
        for values, counts in found
    ]
    return torch.stack([value if count >= _LEAST_MODE * rows else nan for value, count in most])


def _rows(values: Tensor) -> int:
    """Return the number of rows of all processes."""
    return sum(gathered(len(values)))


def _lowest(values: Tensor) -> Tensor:
    """Return the smallest values of all processes' rows."""
    own = values.double().amin(dim=0).cpu() if len(values) else None
    found = [one for one in gathered(own) if one is not None]
    return torch.stack(found).amin(dim=0).to(values.device)


def _at_places(ordered: Tensor, places: Tensor) -> Tensor:
    """Return the values at some places of the columns of all processes put together and sorted.

    By bisection of the numbers that there are between the smallest and the largest float: the
    value at place ``p`` is the least that ``p + 1`` rows do not exceed.

    Args:
        ordered: this process's rows, ascending. Shape ``(F, N)``.
        places: counted from 0. Shape ``(Q,)``.
    """
    keys = _keys(ordered)
    ends = torch.tensor([-torch.inf, torch.inf], dtype=ordered.dtype, device=ordered.device)
    low, high = (end.repeat(len(keys), len(places)) for end in _keys(ends))
    while bool((low < high).any()):
        middle = (low & high) + ((low ^ high) >> 1)  # their mean, rounded down; no sum overflows
        enough = over_ranks(torch.searchsorted(keys, middle, right=True)) > places
        low, high = torch.where(enough, low, middle + 1), torch.where(enough, middle, high)
    return _in_order(high.to(_whole(ordered))).view(ordered.dtype)


def _keys(values: Tensor) -> Tensor:
    """Return whole numbers, int64, in the order of the floats; 0 and -0 are one."""
    return _in_order((values + 0.0).contiguous().view(_whole(values))).long()


def _in_order(bits: Tensor) -> Tensor:
    """Turn the bits of floats into whole numbers in their order, and back."""
    return torch.where(bits < 0, bits ^ torch.iinfo(bits.dtype).max, bits)


def _whole(values: Tensor) -> torch.dtype:
    return torch.int64 if values.dtype == torch.float64 else torch.int32


def _frequent(values: Tensor, counts: Tensor, here: Tensor) -> tuple[Tensor, Tensor]:
    """Return values that may be the most frequent over all processes, ascending, with counts.

    What is frequent among all rows is frequent in one process at least.
    """
    near = gathered(values[here].cpu())
    candidates = torch.unique(torch.cat(near)).to(values)
    place = torch.searchsorted(values, candidates).clamp(max=max(len(values) - 1, 0))
    own = torch.zeros_like(candidates, dtype=torch.int64)
    if len(values):
        own = torch.where(values[place] == candidates, counts[place], own)
    return candidates, over_ranks(own)
