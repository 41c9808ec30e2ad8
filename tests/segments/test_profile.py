"""Profiles in the data's own words."""

import pytest
import torch

from dfl.errors import ShapeError
from dfl.segments.profile import profiles


def test_what_sets_a_segment_apart_is_told() -> None:
    generator = torch.Generator().manual_seed(0)
    label = torch.arange(1_000) % 2
    age = 40 + 10 * torch.randn(1_000, generator=generator) + 15 * label
    city = (torch.rand(1_000, generator=generator) < 0.2 + 0.6 * label).float()
    noise = torch.randn(1_000, generator=generator)
    x = torch.stack([noise, age, city, 1 - city, torch.ones(1_000)], dim=1)
    names = ("noise", "age", "city=north", "city=south", "constant")
    low, high = profiles(x, label, 2, names)
    assert low.people == high.people == 0.5
    assert len(high.traits) == 2
    assert f"high age: {float(age[label == 1].mean()):.4g} on average (all: " in str(high)
    assert f"{float(city[label == 1].mean()):.0%} with city=north (all: " in str(high)
    assert "low age: " in str(low)


def test_as_many_digits_are_told_as_tell_means_apart() -> None:
    label = torch.arange(100) % 2
    low, high = profiles(1_000_000 + 80.0 * label[:, None], label, 2, ("spent",))
    assert str(low) == "low spent: 1000000 on average (all: 1000040)"
    assert str(high) == "high spent: 1000080 on average (all: 1000040)"


def test_segments_like_everyone_and_empty_ones() -> None:
    x = torch.randn(500, 3, generator=torch.Generator().manual_seed(0))
    found = profiles(x, torch.zeros(500, dtype=torch.int64), 2, ("a", "b", "c"))
    assert [str(one) for one in found] == ["like everyone else"] * 2
    assert [one.people for one in found] == [1.0, 0.0]
    with pytest.raises(ShapeError, match="names must be 3"):
        profiles(x, torch.zeros(500, dtype=torch.int64), 1, ("a",))
