from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dfl.data import UpliftData, split, split_rows
from dfl.errors import InvalidValueError

SHARES = st.lists(st.integers(1, 10), min_size=1, max_size=5)


@given(rows=st.integers(50, 400), shares=SHARES, left_over=st.integers(0, 10), seed=st.integers())
def test_parts_have_their_size_and_share_no_row(
    rows: int, shares: list[int], left_over: int, seed: int
) -> None:
    fractions = [share / (sum(shares) + left_over) for share in shares]
    parts = split_rows(rows, fractions, seed=seed)
    for fraction, part in zip(fractions, parts, strict=True):
        assert abs(len(part) - fraction * rows) < 1
        assert torch.equal(part, part.sort().values)
    everyone = torch.cat(parts)
    assert len(everyone.unique()) == len(everyone)
    assert 0 <= int(everyone.min()) <= int(everyone.max()) < rows
    if left_over == 0:
        assert len(everyone) == rows
    again = split_rows(rows, fractions, seed=seed)
    assert all(torch.equal(part, same) for part, same in zip(parts, again, strict=True))


@given(
    sizes=st.lists(st.integers(1, 6), min_size=40, max_size=120), shares=SHARES, seed=st.integers()
)
def test_groups_are_never_cut(sizes: list[int], shares: list[int], seed: int) -> None:
    ids = torch.arange(len(sizes)) * 7 - 11
    groups = ids.repeat_interleave(torch.tensor(sizes))
    groups = groups[torch.randperm(len(groups), generator=torch.Generator().manual_seed(1))]
    fractions = [share / sum(shares) for share in shares]
    small = min(fractions) * len(groups) < 2 * max(sizes)
    try:
        parts = split_rows(len(groups), fractions, seed=seed, groups=groups)
    except InvalidValueError:
        assert small  # only a fraction of the size of a group can come out empty
        return
    assert sum(len(part) for part in parts) == len(groups)
    seen = [set(groups[part].tolist()) for part in parts]
    assert sum(map(len, seen)) == len(set.union(*seen))
    for fraction, part in zip(fractions, parts, strict=True):
        assert abs(len(part) - fraction * len(groups)) <= max(sizes)


def test_seeds_give_different_parts() -> None:
    (first,), (second,) = split_rows(100, [0.5], seed=1), split_rows(100, [0.5], seed=2)
    assert not torch.equal(first, second)


def test_every_column_follows_its_row(make_rows: Callable[..., UpliftData]) -> None:
    data = make_rows(groups=True)
    parts = split(data, (0.5, 0.25), seed=3)
    rows = split_rows(len(data), (0.5, 0.25), seed=3, groups=data.groups)
    for part, index in zip(parts, rows, strict=True):
        assert torch.equal(part.features, data.features[index])
        assert torch.equal(part.cost, data.cost[index])


@pytest.mark.parametrize(
    ("fractions", "message"),
    [
        ((), r"each lie in \(0, 1\]"),
        ((0.5, 0.0), r"each lie in \(0, 1\], got \(0.5, 0.0\)"),
        ((0.7, 0.7), "sum to at most 1, got .* sum 1.4"),
        ((float("nan"),), r"each lie in \(0, 1\]"),
        ("ab", "fractions must be a tuple, got 'ab'"),
        (("a",), r"each lie in \(0, 1\], got \('a',\)"),
        ((0.001, 0.5), "fraction of 0.001 of 10 rows leaves a part empty"),
    ],
)
def test_bad_fractions_are_refused(fractions: tuple[float, ...], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        split_rows(10, fractions, seed=0)


def test_fractions_can_be_an_array() -> None:
    found = split_rows(10, np.array([0.5, 0.5]), seed=0)  # type: ignore[arg-type]  # no sequence
    assert all(map(torch.equal, found, split_rows(10, (0.5, 0.5), seed=0)))


def test_a_part_without_a_treatment_is_refused(make_rows: Callable[..., UpliftData]) -> None:
    with pytest.raises(InvalidValueError, match="every treatment must occur"):
        split(make_rows(30), (0.05,), seed=0)
