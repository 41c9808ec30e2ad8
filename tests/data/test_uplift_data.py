from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from dfl.data import PotentialOutcomes, UpliftData
from dfl.errors import DTypeError, InvalidValueError, ShapeError


def rows(**changes: Any) -> UpliftData:
    fields: dict[str, Any] = {
        "features": torch.arange(12.0).reshape(6, 2),
        "treatment": torch.tensor([0, 1, 2, 0, 1, 2]),
        "revenue": torch.ones(6),
        "cost": torch.zeros(6),
        "treatments": 3,
        "source": "rct",
    }
    return UpliftData(**{**fields, **changes})


UNIFORM = torch.full((6, 3), 1 / 3)
SURE = torch.nn.functional.one_hot(torch.tensor([1, 1, 2, 0, 1, 2]), 3).float()


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"features": torch.ones(6)}, ShapeError, r"features must be \(N, F\)"),
        ({"features": torch.ones(0, 2)}, ShapeError, "N >= 1"),
        ({"treatment": torch.tensor([0, 1])}, ShapeError, r"treatment must be \(6,\), got \(2,\)"),
        ({"revenue": torch.ones(6, 1)}, ShapeError, r"revenue must be \(6,\), got \(6, 1\)"),
        ({"cost": torch.ones(5)}, ShapeError, r"cost must be \(6,\)"),
        ({"propensity": torch.ones(6, 2)}, ShapeError, r"propensity must be \(6, 3\)"),
        ({"groups": torch.arange(3)}, ShapeError, r"groups must be \(6,\)"),
        (
            {"truth": PotentialOutcomes(torch.ones(6, 3), torch.ones(6))},
            ShapeError,
            r"truth.cost must be \(6, 3\)",
        ),
        ({"feature_names": ("a",)}, ShapeError, "feature_names must be 2 or none, got 1"),
        ({"treatment_names": ("a",) * 4}, ShapeError, "treatment_names must be 3 or none, got 4"),
        (
            {"truth": PotentialOutcomes(torch.ones(6, 3), torch.full((6, 3), torch.nan))},
            InvalidValueError,
            "truth.cost must be finite, got NaN or infinity in 18 value",
        ),
        ({"features": torch.ones(6, 2, dtype=torch.int64)}, DTypeError, "features must be float"),
        ({"revenue": torch.ones(6, dtype=torch.float64)}, DTypeError, "revenue must be .*float32"),
        ({"treatment": torch.zeros(6)}, DTypeError, "treatment must be int64, got .*float32"),
        ({"groups": torch.zeros(6)}, DTypeError, "groups must be int64"),
        (
            {"features": [[0.0, 1.0]] * 6},
            DTypeError,
            "features must be a tensor, got list; torch.a",
        ),
        ({"treatment": np.arange(6) % 3}, DTypeError, "treatment must be a tensor, got ndarray"),
        ({"revenue": None}, DTypeError, "revenue must be a tensor, got NoneType"),
        ({"cost": (0.0,) * 6}, DTypeError, "cost must be a tensor, got tuple"),
        ({"propensity": [[1 / 3] * 3] * 6}, DTypeError, "propensity must be a tensor, got list"),
        ({"groups": [0] * 6}, DTypeError, "groups must be a tensor, got list"),
        ({"treatments": "3"}, InvalidValueError, "treatments must be a .*number, got '3'"),
        ({"treatments": 2.5}, InvalidValueError, "treatments must be a whole number >= 1, got 2.5"),
        (
            {"features": torch.full((6, 2), torch.nan)},
            InvalidValueError,
            "12 value.*first in row 0",
        ),
        ({"revenue": torch.tensor([0, 0, 0, torch.inf, 0, 0])}, InvalidValueError, "in row 3"),
        ({"cost": torch.full((6,), torch.nan)}, InvalidValueError, "cost must be finite"),
        ({"cost": torch.full((6,), -2.0)}, InvalidValueError, "cost must be >= 0, got .* -2"),
        ({"source": "trial"}, InvalidValueError, "source must be one of 'rct', 'obs', got 'trial'"),
        (
            {"treatment": torch.tensor([0, 1, 3, 0, 1, 2])},
            InvalidValueError,
            r"0 \.\. 2, got 0 \.\. 3",
        ),
        ({"treatments": 4}, InvalidValueError, r"every treatment must occur, got no row .* \[3\]"),
        ({"propensity": UNIFORM * 2}, InvalidValueError, "sum to 1, got 6 row"),
        (
            {"propensity": torch.cat([UNIFORM[:5], torch.tensor([[0.5, -0.5, 1.0]])])},
            InvalidValueError,
            r"got 1 row\(s\) that do not, first \[0.5, -0.5, 1.0\] in row 5",
        ),
        (
            {"propensity": torch.full((6, 3), torch.nan)},
            InvalidValueError,
            r"sum to 1, got 6 row\(s\) that do not, first \[nan",
        ),
        ({"propensity": SURE}, InvalidValueError, "received has propensity 0"),
    ],
)
def test_bad_rows_are_refused(
    changes: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        rows(**changes)


def test_weights_are_inverse_arm_shares_without_a_known_propensity() -> None:
    data = rows(treatment=torch.tensor([0, 0, 0, 1, 1, 2]))
    assert data.weight.tolist() == pytest.approx([2, 2, 2, 3, 3, 6])


def test_weights_come_from_a_known_propensity() -> None:
    assert rows(propensity=UNIFORM, source="obs").weight.tolist() == pytest.approx([3] * 6)


def test_observational_rows_have_no_weights_of_their_own() -> None:
    with pytest.raises(InvalidValueError, match="observational and carry none"):
        _ = rows(source="obs").weight


def test_subset_keeps_every_column_and_accepts_positions_and_masks() -> None:
    truth = PotentialOutcomes(torch.arange(18.0).reshape(6, 3), torch.ones(6, 3))
    data = rows(truth=truth, groups=torch.arange(6), propensity=UNIFORM, feature_names=("a", "b"))
    by_position = data.subset(torch.tensor([2, 3, 4]))
    by_mask = data.subset(torch.tensor([False, False, True, True, True, False]))
    for part in (by_position, by_mask):
        assert part.features.tolist() == data.features[2:5].tolist()
        assert part.groups is not None
        assert part.groups.tolist() == [2, 3, 4]
        assert part.truth is not None
        assert part.truth.revenue.tolist() == truth.revenue[2:5].tolist()
        assert part.feature_names == ("a", "b")


def test_subset_without_a_treatment_is_refused() -> None:
    with pytest.raises(InvalidValueError, match=r"no row with treatment \[2\]"):
        rows().subset(torch.tensor([0, 1]))


def test_to_moves_amounts_and_leaves_whole_numbers_alone(device: torch.device) -> None:
    truth = PotentialOutcomes(torch.ones(6, 3), torch.ones(6, 3))
    moved = rows(truth=truth, groups=torch.arange(6)).to(device, torch.float64)
    assert moved.features.dtype == moved.revenue.dtype == torch.float64
    assert moved.truth is not None
    assert moved.truth.cost.dtype == torch.float64
    assert moved.treatment.dtype == torch.int64
    assert moved.groups is not None
    assert moved.groups.device.type == device.type


def test_observed_cost_carries_the_logged_rows() -> None:
    data = replace(rows(), cost=torch.arange(6.0))
    assert data.observed_cost.cost.tolist() == data.cost.tolist()
    assert data.observed_cost.weight.tolist() == pytest.approx([3] * 6)


def test_joined_rows_keep_every_column_and_fill_what_one_part_lacks() -> None:
    data = rows()
    both = data.joined(data)
    assert torch.equal(both.revenue, torch.cat([data.revenue, data.revenue]))
    assert torch.equal(both.features, torch.cat([data.features, data.features]))
    plain = replace(data, propensity=None, groups=None, truth=None)
    assert plain.joined(plain).propensity is None
    assert plain.joined(plain).groups is None
    known = torch.tensor([0.2, 0.3, 0.5]).expand(len(data), 3).to(data.features)
    mixed = replace(plain, propensity=known).joined(plain)
    assert mixed.propensity is not None
    shares = data.arm_counts / len(data)
    torch.testing.assert_close(mixed.propensity[len(data)], shares.to(data.features))
    torch.testing.assert_close(mixed.propensity[0], known[0])
    logs = replace(plain, source="obs", propensity=known)
    assert logs.joined(logs).propensity is not None
    assert logs.joined(replace(logs, propensity=None)).propensity is None
    assert replace(logs, propensity=None).joined(logs).propensity is None
    together = replace(plain, groups=torch.full((len(data),), 7)).joined(plain)
    assert together.groups is not None
    assert together.groups.tolist() == [7] * len(data) + list(range(8, 8 + len(data)))
    truth = PotentialOutcomes(known, known)
    assert replace(plain, truth=truth).joined(plain).truth is None
    kept = replace(plain, truth=truth).joined(replace(plain, truth=truth)).truth
    assert kept is not None
    assert kept.cost.shape == (2 * len(data), 3)


def test_rows_that_are_unlike_are_not_joined() -> None:
    data = rows()
    with pytest.raises(InvalidValueError, match="must be of one source, got 'rct' and 'obs'"):
        data.joined(replace(data, source="obs"))
    with pytest.raises(ShapeError, match=r"rows that are joined must agree in \(features, treat"):
        data.joined(replace(data, features=data.features[:, :1]))
    with pytest.raises(DTypeError, match="rows that are joined must have one dtype"):
        data.joined(data.to("cpu", torch.float64))
    named = replace(data, feature_names=("a", "b"), treatment_names=("none", "mail", "call"))
    assert data.joined(named).feature_names == ()
    with pytest.raises(
        InvalidValueError, match=r"same feature_names .* got 'a' and 'b' in place 0"
    ):
        named.joined(replace(named, feature_names=("b", "a")))
    with pytest.raises(InvalidValueError, match=r"treatment_names .* 'mail' and 'post' in place 1"):
        named.joined(replace(named, treatment_names=("none", "post", "call")))


def test_groups_of_any_number_leave_room_for_people_without_one() -> None:
    groups = torch.arange(6) // 2 + torch.iinfo(torch.int64).max - 3
    joined = rows(groups=groups).joined(rows())
    assert joined.groups is not None
    assert joined.groups.tolist() == [0, 0, 1, 1, 2, 2, *range(3, 9)]
