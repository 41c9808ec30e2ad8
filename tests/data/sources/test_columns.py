from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dfl.data import Columns, DataWarning, HybridRecipe, load
from dfl.errors import DataError, InvalidValueError
from tests.data.conftest import write

ROWS = 120
TABLE = pd.DataFrame(
    {
        "offer": ["none", "coupon", "call"] * 40,
        "level": [0, 10, 5] * 40,
        "spend": np.arange(ROWS) / 4,
        "paid": [0.0, 0.5, 2.0] * 40,
        "age": np.arange(ROWS) % 50,
        "city": ["Rome", "Oslo"] * 60,
        "shop": np.arange(ROWS) // 6,
        "kind": ["rct"] * 60 + ["obs"] * 60,
        "p0": [0.5] * ROWS,
        "p1": [0.25] * ROWS,
        "p2": [0.25] * ROWS,
    }
)
ROLES: dict[str, Any] = {"treatment": "level", "revenue": "spend", "cost": "paid"}
FEATURES = ("age", "city")


@pytest.fixture
def table(tmp_path: Path) -> Path:
    return write(TABLE, tmp_path / "mine.parquet")


@pytest.mark.parametrize("name", ["mine.parquet", "mine.csv", "mine.tsv.gz"])
def test_roles_make_rows(tmp_path: Path, name: str) -> None:
    path = write(TABLE, tmp_path / name)
    loaded = load(path, features=FEATURES, **ROLES)
    data = loaded.data
    assert loaded.card is None
    assert loaded.obs is None
    assert data.treatment_names == ("0", "5", "10")
    assert data.treatment[:3].tolist() == [0, 2, 1]
    assert data.revenue.tolist() == TABLE["spend"].tolist()
    assert data.cost.tolist() == TABLE["paid"].tolist()
    assert data.feature_names == ("age", "city=Oslo", "city=Rome")
    assert data.features.dtype == torch.float32


def test_all_other_columns_are_features_by_default(tmp_path: Path) -> None:
    path = write(TABLE[["level", "spend", "paid", "age", "city"]], tmp_path / "mine.csv")
    assert load(path, **ROLES).data.feature_names == ("age", "city=Oslo", "city=Rome")


def test_what_is_left_out_is_said_with_its_reason(table: Path) -> None:
    loaded = load(table, features=FEATURES, **ROLES)
    others = "columns offer, shop, kind, p0, p1, p2"
    assert loaded.left_out == ((others, "no features (data.features)"),)
    recipe = HybridRecipe(policy=0.2, pool=0.4, rct=0.15, validation=0.1, test=0.15, epsilon=1)
    hybrid = replace(loaded, recipe=recipe).hybrid(0)
    columns, (rows, why) = hybrid.left_out
    assert columns == loaded.left_out[0]
    assert rows == f"{ROWS - sum(hybrid.rows.values())} of {ROWS} rows"
    assert why.startswith("logs were made from the experiment: these rows trained the policy")
    whole = load(table, exclude=others.split(" ", 1)[1].split(", "), **ROLES)
    assert whole.left_out == ((others, "no features (data.exclude)"),)
    paired = load(table, features=FEATURES, source="kind", **ROLES).hybrid(0)
    assert [what for what, _ in paired.left_out] == ["columns offer, shop, p0, p1, p2"]


def test_constant_costs_are_given_by_treatment_and_order_it(table: Path) -> None:
    cost = {"coupon": 0.5, "call": 2.0, "none": 0.0}
    data = load(table, treatment="offer", revenue="spend", cost=cost, features=FEATURES).data
    assert data.treatment_names == ("none", "coupon", "call")
    assert data.cost.tolist() == TABLE["paid"].tolist()


def test_numbered_treatments_can_be_priced_by_number(table: Path) -> None:
    roles = {**ROLES, "cost": {10: 0.5, 0: 0.0, 5: 0.25}}
    data = load(table, features=FEATURES, **roles).data
    assert data.treatment_names == ("0", "5", "10")
    assert data.cost[:3].tolist() == [0.0, 0.5, 0.25]


def test_the_order_of_treatments_can_be_given(table: Path) -> None:
    data = load(
        table,
        **{**ROLES, "treatment": "offer"},
        treatments=("call", "none", "coupon"),
        features=FEATURES,
    ).data
    assert data.treatment[:3].tolist() == [1, 2, 0]


def test_groups_propensities_and_codes_are_read(table: Path) -> None:
    data = load(
        table,
        features=("age", "city"),
        groups="shop",
        propensity=("p0", "p1", "p2"),
        source="obs",
        **ROLES,
    ).data
    assert data.source == "obs"
    assert data.groups is not None
    assert data.groups.tolist() == TABLE["shop"].tolist()
    assert data.weight[:3].tolist() == [2, 4, 4]
    coded = load(table, features=("shop",), categorical=("shop",), **ROLES)
    assert len(coded.encoder.feature_names) == 20


def test_a_source_column_makes_a_pair(table: Path) -> None:
    loaded = load(table, features=FEATURES, source="kind", **ROLES)
    assert loaded.obs is not None
    assert loaded.data.revenue.tolist() == TABLE["spend"][:60].tolist()
    assert loaded.obs.revenue.tolist() == TABLE["spend"][60:].tolist()
    assert (loaded.data.source, loaded.obs.source) == ("rct", "obs")
    hybrid = loaded.hybrid(0)
    assert hybrid.obs is loaded.obs
    assert len(hybrid.rct) + len(hybrid.validation) + len(hybrid.test) == 60


def test_a_source_column_of_one_kind_is_no_pair(tmp_path: Path) -> None:
    path = write(TABLE[60:], tmp_path / "mine.csv")
    loaded = load(path, features=FEATURES, source="kind", **ROLES)
    assert loaded.obs is None
    assert loaded.data.source == "obs"
    with pytest.warns(DataWarning, match=r"all observational: .* estimated chances of treatment"):
        parts = loaded.hybrid(0)
    assert parts.rct is None
    assert parts.obs is not None
    assert len(parts.obs) + len(parts.validation) + len(parts.test) == 60


@pytest.mark.parametrize(
    ("changes", "options", "error", "message"),
    [
        ({}, {"treatment": "offer"}, DataError, r"treatments must be given in order.*'call', 'cou"),
        ({}, {"treatments": ("0", "5")}, DataError, r"holds \['10'\], which are not among"),
        (
            {},
            {"treatments": ("0", "5", "10", "15")},
            InvalidValueError,
            r"among the rct rows, got no row with \['15'\]",
        ),
        ({}, {"cost": {"0": 0.0, "5": 1.0}}, DataError, r"holds \['10'\]"),
        (
            {},
            {"cost": {"0": 0.0}, "treatments": ("0", "5", "10")},
            DataError,
            r"cost must name every treatment, got none for \['5', '10'\]",
        ),
        ({}, {"features": ("age", "spend")}, DataError, r"columns \['spend'\] cannot be both"),
        ({}, {"features": ("nose",)}, DataError, r"must have the columns \['nose'\]"),
        ({}, {"revenue": "city", "features": ("age",)}, DataError, "'city' must hold numbers"),
        (
            {},
            {"source": "city", "features": ("age",)},
            DataError,
            r"must hold 'rct' or 'obs', got \['Oslo', 'Rome'\]",
        ),
        ({}, {"propensity": ("p0", "p1")}, ValueError, r"propensity must be \(120, 3\)"),
        (
            {"level": [0, 10, None] * 40},
            {},
            InvalidValueError,
            "'level' must be known in every row, it is missing in 40 of 120, first in row 2",
        ),
        (
            {"spend": [None, 1.0] * 60},
            {},
            InvalidValueError,
            r"'spend' \(revenue\) must be known and finite .* got 60 .* nan in row 0",
        ),
        (
            {"spend": 1e60},
            {},
            InvalidValueError,
            r"must be known and finite in every row, got 120 .* first 1e\+60",
        ),
        (
            {"paid": -1.0},
            {},
            InvalidValueError,
            r"'paid' \(cost\) must be >= 0, got 120 .* first -1 in row 0",
        ),
        ({"age": [None, 1.0] * 60}, {}, InvalidValueError, "'age' must have no missing value"),
        (
            {},
            {"cost": {0: 0, 5: 1, 10: "x"}},
            InvalidValueError,
            r"cost must give every treatment a number, got \[0, 1, 'x'\]",
        ),
        (
            {"shop": [None, 1.0] * 60},
            {"groups": "shop"},
            InvalidValueError,
            "'shop' must be known in every row",
        ),
    ],
)
def test_what_does_not_fit_is_refused(
    tmp_path: Path,
    changes: dict[str, Any],
    options: dict[str, Any],
    error: type[Exception],
    message: str,
) -> None:
    path = write(TABLE.assign(**changes), tmp_path / "mine.parquet")
    with pytest.raises(error, match=message):
        load(path, **{**ROLES, "features": FEATURES, **options})


def test_a_table_needs_a_path() -> None:
    with pytest.raises(DataError, match="needs a path"):
        Columns(**ROLES).load()
