"""A table of one's own in every form: files, frames, separate parts, and what is suspicious."""

import datetime as dt
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch

from dfl.data import Columns, DataWarning, HybridRecipe, LoadedData, load
from dfl.errors import ConfigError, DataError, InvalidValueError
from tests.data.conftest import write

ROLES: dict[str, Any] = {"treatment": "arm", "revenue": "spend", "cost": {0: 0, 1: 1}}


def shop(rows: int = 900, seed: int = 0, **columns: Any) -> pd.DataFrame:
    draw = np.random.default_rng(seed)
    table = {
        "arm": np.arange(rows) // 3 % 2,
        "spend": draw.normal(size=rows),
        "x": draw.normal(size=rows),
        "city": draw.choice(["US", "NA", "None"], rows),
    }
    return pd.DataFrame(table | columns)


def opened(table: object, **options: Any) -> LoadedData:
    return load(table, **{**ROLES, "features": ("x", "city"), **options})


def equal(one: LoadedData, two: LoadedData) -> bool:
    assert one.encoder == two.encoder
    assert one.data.treatment_names == two.data.treatment_names
    pairs = ((getattr(one.data, name), getattr(two.data, name)) for name in ("treatment", "cost"))
    assert all(torch.equal(a, b) for a, b in pairs)
    torch.testing.assert_close(one.data.revenue, two.data.revenue)
    torch.testing.assert_close(one.data.features, two.data.features)
    return True


# One meaning in every form -------------------------------------------------------------------


@pytest.mark.parametrize("name", ["t.parquet", "t.csv", "t.csv.gz", "t.tsv"])
def test_a_frame_and_a_file_are_the_same_rows(tmp_path: Path, name: str) -> None:
    table = shop()
    from_frame = opened(table)
    assert from_frame.encoder.feature_names == ("x", "city=NA", "city=None", "city=US")
    assert equal(opened(write(table, tmp_path / name)), from_frame)


CODES = {"plain": {}, "hashed": {"hashed": ("zip",)}, "target": {"target": ("zip",)}}


@pytest.mark.parametrize("options", CODES.values(), ids=CODES)
def test_what_a_code_means_does_not_depend_on_the_other_rows_of_its_file(
    tmp_path: Path, options: dict[str, Any]
) -> None:
    zips = np.array(["0501", "0602", "0703", "K1A"])
    draw = np.random.default_rng(0)
    parts = {"path": shop(zip=zips[draw.integers(0, 4, 900)])}
    parts |= {
        name: shop(90, seed=1, zip=zips[draw.integers(0, 3, 90)])
        for name in ("obs", "validation", "test")
    }
    files = {name: write(part, tmp_path / f"{name}.csv") for name, part in parts.items()}

    def parts_of(tables: dict[str, Any]) -> Any:
        rest = {**tables, "features": ("zip",), "unknown": "other", **options}
        return load(rest.pop("path"), **ROLES, **rest).hybrid(0)

    read, given = parts_of(files), parts_of(parts)
    for name in parts:
        part = "rct" if name == "path" else name
        assert torch.equal(getattr(read, part).features, getattr(given, part).features)
    assert read.encoder == given.encoder
    assert read.encoder.text == ("zip",)


def test_arms_of_a_file_are_text_where_those_of_training_are(tmp_path: Path) -> None:
    arms = ("00", "01", "K")
    path = write(shop(arm=[arms[k % 3] for k in range(900)]), tmp_path / "t.csv")
    logs = write(shop(90, arm=[arms[k % 2] for k in range(90)]), tmp_path / "o.csv")
    cost = dict(zip(arms, range(3), strict=True))
    with pytest.raises(InvalidValueError, match=r"the obs rows, got no row with \['K'\]"):
        opened(path, obs=logs, cost=cost)


@pytest.mark.parametrize("first", [2**53 + 1, 2**63, 20240101000000000000])
def test_households_of_large_numbers_stay_apart(tmp_path: Path, first: int) -> None:
    path = write(shop(hh=[str(first + row) for row in range(900)]), tmp_path / "t.csv")
    groups = opened(path, groups="hh").data.groups
    assert groups is not None
    assert groups.unique().numel() == 900
    with pytest.raises(DataError, match=r"'hh' holds whole numbers above 2\*\*53"):
        opened(path, features=("hh",))


@pytest.mark.parametrize("make", [pl.from_pandas, pa.Table.from_pandas], ids=["polars", "Arrow"])
def test_every_kind_of_frame_is_the_same_rows(make: Any) -> None:
    assert equal(opened(make(shop())), opened(shop()))


def test_roles_can_be_given_by_columns_too() -> None:
    found = Columns(**ROLES, features=("x", "city")).of(shop())
    assert equal(found, opened(shop()))


@pytest.mark.parametrize("name", ["t.parquet", "t.csv"])
@pytest.mark.parametrize(
    ("arms", "cost", "names"),
    [
        (["None", "5%"], {"None": 0, "5%": 0.05}, ("None", "5%")),
        (["NA", "EU"], {"NA": 0, "EU": 1}, ("NA", "EU")),
        (["null", "nan"], {"null": 0, "nan": 1}, ("null", "nan")),
        ([0.0, 1.0], {0: 0, 1: 1}, ("0", "1")),
        ([0, 1], {0.0: 0, 1.0: 1}, ("0", "1")),
        ([False, True], {"False": 0, "True": 1}, ("False", "True")),
        ([False, True], {False: 0, True: 1}, ("False", "True")),
        ([Decimal("0.00"), Decimal("0.10")], {"0": 0, "0.1": 1}, ("0", "0.1")),
        ([0.05, 0.1], {0.05: 0.05, 0.1: 0.1}, ("0.05", "0.1")),
        (["a,b", 'say "c"'], {"a,b": 0, 'say "c"': 1}, ("a,b", 'say "c"')),
        (["$x$", "[red]y[/red]"], {"$x$": 0, "[red]y[/red]": 1}, ("$x$", "[red]y[/red]")),
    ],
)
def test_arms_of_every_kind_can_be_named(
    tmp_path: Path, name: str, arms: list[Any], cost: dict[Any, float], names: tuple[str, ...]
) -> None:
    table = shop()
    table["arm"] = [arms[arm] for arm in table["arm"]]
    loaded = opened(write(table, tmp_path / name), cost=cost)
    assert loaded.data.treatment_names == names
    assert loaded.data.treatment.tolist() == shop()["arm"].tolist()


def test_arms_that_are_numbers_have_their_own_order() -> None:
    table = shop()
    table["arm"] = table["arm"].map({0: 10.0, 1: 9.0})
    loaded = opened(table.assign(paid=1.0), cost="paid")
    assert loaded.data.treatment_names == ("9", "10")


@pytest.mark.parametrize("column", ["past, EUR", "$", "NA", "", "a.b", "ü", "[red]", "<b>", "None"])
def test_columns_of_any_name(tmp_path: Path, column: str) -> None:
    table = shop().rename(columns={"x": column})
    for source in (table, write(table, tmp_path / "t.parquet"), write(table, tmp_path / "t.csv")):
        assert opened(source, features=(column,)).data.feature_names == (column,)


def test_a_decimal_is_money_and_a_number(tmp_path: Path) -> None:
    prices = [Decimal(f"{price / 100:.2f}") for price in range(900)]
    table = shop(spend=prices, x=prices)
    for source in (table, write(table, tmp_path / "t.parquet"), write(table, tmp_path / "t.csv")):
        loaded = opened(source, features=("x",))
        assert loaded.encoder.feature_names == ("x",)
        expected = torch.arange(900) / 100
        torch.testing.assert_close(loaded.data.revenue, expected)
        torch.testing.assert_close(loaded.data.features[:, 0], expected)


def test_dates_in_files_are_numbers_when_asked(tmp_path: Path) -> None:
    days = [dt.date(2024, 1, 1) + dt.timedelta(days=row // 6 % 30) for row in range(900)]
    table = shop(since=days)
    for source in (table, write(table, tmp_path / "t.parquet"), write(table, tmp_path / "t.csv")):
        loaded = opened(source, features=("since",), dates=("since",))
        assert loaded.data.features[:3, 0].tolist() == [19723] * 3
        with pytest.raises(DataError, match="column 'since' must hold text or whole numbers"):
            opened(source, features=("since",))


# A saved index -------------------------------------------------------------------------------


def test_a_saved_index_is_no_feature(tmp_path: Path) -> None:
    table = shop()[["arm", "spend", "x"]]
    table.sample(frac=1, random_state=0).to_parquet(tmp_path / "a.parquet")
    table.to_csv(tmp_path / "a.csv")
    table.set_index(pd.Index(range(900), name="user")).to_parquet(tmp_path / "b.parquet")
    for name in ("a.parquet", "a.csv", "b.parquet"):
        assert load(tmp_path / name, **ROLES).data.feature_names == ("x",)


def test_a_named_index_can_be_asked_for(tmp_path: Path) -> None:
    shop().set_index(pd.Index(np.arange(900) // 3, name="user")).to_parquet(tmp_path / "b.parquet")
    groups = opened(tmp_path / "b.parquet", groups="user").data.groups
    assert groups is not None
    assert groups.tolist() == [row // 3 for row in range(900)]


# Errors name the column, the rows, and all at once -------------------------------------------


def gap(column: str, value: Any) -> pd.DataFrame:
    table = shop(paid=1.0).astype({"arm": object, "spend": object, "paid": object})
    table.loc[[5, 7], column] = value
    return table


@pytest.mark.parametrize(
    ("table", "options", "error", "message"),
    [
        (gap("arm", None), {}, InvalidValueError, "'arm' .* missing in 2 of 900, first in row 5"),
        (gap("spend", None), {}, InvalidValueError, r"'spend' \(revenue\) .* got 2 .* in row 5"),
        (gap("spend", np.inf), {}, InvalidValueError, r"'spend' .* first inf in row 5"),
        (gap("paid", -2.0), {"cost": "paid"}, InvalidValueError, r"'paid' \(cost\) must be >= 0"),
        (
            gap("x", np.nan),
            {},
            InvalidValueError,
            "'x' must have no missing value, got 2, first in",
        ),
        (
            gap("x", np.inf),
            {},
            InvalidValueError,
            "'x' must be finite in float32, got inf in row 5",
        ),
        (gap("city", None), {}, InvalidValueError, "'city' must have no missing value, got 2"),
        (shop(), {"features": ("u", "x", "v")}, DataError, r"must have the columns \['u', 'v'\]"),
        (shop(), {"exclude": ("u",), "features": None}, DataError, r"exclude names .*\['u'\]"),
        (shop(), {"dates": ("spend",)}, DataError, r"\['spend'\] are encoded .* but no features"),
        (shop(), {"exclude": ("x",)}, DataError, r"\['x'\] cannot be both features and"),
        (shop(), {"features": ("x", "x")}, DataError, r"features must be given once .*\['x'\]"),
        (shop(), {"treatments": (0, 1.0, 1)}, DataError, r"treatments must be given once .*'1'"),
        (shop(), {"cost": {0: 0, "0": 1, 1: 1}}, DataError, r"cost must be given once .*\['0'\]"),
        (shop()[:0], {}, DataError, "at least one row"),
        (shop(spend="1,5"), {}, DataError, "'spend' must hold numbers, got .*first '1,5'"),
    ],
)
def test_an_error_names_what_is_wrong(
    table: pd.DataFrame, options: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message):
        opened(table, **options)


def test_a_name_that_comes_twice_matters_where_it_is_used(tmp_path: Path) -> None:
    file = tmp_path / "t.parquet"
    columns = [shop()[name] for name in ("arm", "spend", "x", "city", "x")]
    pq.write_table(pa.table(columns, names=["arm", "spend", "x", "city", "x"]), file)
    with pytest.raises(DataError, match=r"name its columns once, \['x'\] come twice"):
        opened(file)
    assert opened(file, features=("city",)).data.features.shape == (900, 3)
    text = tmp_path / "t.csv"
    text.write_text("arm,spend,x,x\n0,1,2,3\n1,2,3,4\n")
    with pytest.raises(DataError, match=r"name its columns once, \['x'\] come twice"):
        opened(text, features=("x",))


# Money that float32 cannot hold --------------------------------------------------------------


@pytest.mark.parametrize(("base", "effect"), [(1e9, 20.0), (1e7, 0.4), (1e6, 0.4), (-1e9, 20.0)])
@pytest.mark.parametrize("role", ["revenue", "cost"])
def test_amounts_far_from_0_are_refused(base: float, effect: float, role: str) -> None:
    amounts = (abs(base) if role == "cost" else base) + effect * shop()["arm"]
    column = {"revenue": "spend", "cost": "paid"}[role]
    options = {} if role == "revenue" else {"cost": "paid"}
    with pytest.raises(InvalidValueError, match=rf"'{column}' \({role}\) lies near .* Subtract a"):
        opened(shop(**{column: amounts}), **options)


@pytest.mark.parametrize("scale", [1.0, 1e7, 1e30, 1e-30])
def test_amounts_of_any_unit_are_kept(scale: float) -> None:
    draw = np.random.default_rng(0).lognormal(sigma=2, size=900)
    found = opened(shop(spend=draw * scale)).data.revenue.double().numpy()
    np.testing.assert_allclose(found, draw * scale, rtol=1e-6)


def test_a_constant_amount_is_kept() -> None:
    assert opened(shop(spend=1e9 + 0.1)).data.revenue.unique().tolist() == [1e9]


# Features that are suspicious ----------------------------------------------------------------


def test_an_identifier_is_warned_of_and_can_be_excluded(tmp_path: Path) -> None:
    table = shop(customer=np.arange(900)[::-1])
    with pytest.warns(DataWarning, match=r"columns \['customer'\] hold another whole number in"):
        loaded = opened(table, features=None)
    assert "customer" in loaded.data.feature_names
    loaded = opened(table, features=None, exclude=("customer",))
    assert loaded.data.feature_names == opened(table).data.feature_names
    file = write(table, tmp_path / "t.csv")
    assert equal(opened(file, features=None, exclude=("customer",)), loaded)


def test_a_feature_that_the_treatment_moves_is_warned_of() -> None:
    table = shop(4000)
    moved = table.assign(clicks=np.random.default_rng(1).poisson(3 + table["arm"]))
    with pytest.warns(DataWarning, match=r"features \['clicks'\] differ between the treatments"):
        opened(moved, features=("x", "clicks"))
    opened(moved, features=("x", "clicks"), source="obs")  # nobody drew these treatments
    shares = {"p0": 0.5, "p1": 0.5}
    opened(moved.assign(**shares), features=("x", "clicks"), propensity=("p0", "p1"))


def test_groups_count_once() -> None:
    draw = np.random.default_rng(0)
    house = np.arange(3000) // 100
    table = shop(3000, arm=house % 2, house=house, x=draw.normal(size=30)[house])
    opened(table, groups="house")
    with pytest.warns(DataWarning, match=r"features \['x'\] differ"):
        opened(table)


# Parts in files of their own -----------------------------------------------------------------


def test_every_part_can_have_a_file_of_its_own(tmp_path: Path) -> None:
    sizes = {"path": 300, "obs": 600, "validation": 120, "test": 240}
    tables = {part: shop(rows, seed=rows) for part, rows in sizes.items()}
    files = {part: write(one, tmp_path / f"{part}.csv") for part, one in tables.items()}
    from_files = opened(files.pop("path"), **files).hybrid(0)
    from_frames = opened(tables["path"], **{part: tables[part] for part in files}).hybrid(0)
    for parts in (from_files, from_frames):
        assert parts.rct is not None
        assert parts.obs is not None
        assert (parts.rct.source, parts.obs.source, parts.test.source) == ("rct", "obs", "rct")
        found = {"path": parts.rct, "obs": parts.obs, "validation": parts.validation}
        for part, data in {**found, "test": parts.test}.items():
            assert data.revenue.tolist() == pytest.approx(tables[part]["spend"].tolist())


HOUSEHOLDS: dict[str, tuple[list[Any], list[Any]]] = {
    "numbers": ([*range(300)], [str(one) for one in range(200, 500)]),
    "text": ([f"h{one}" for one in range(300)], [f"h{one}" for one in range(200, 500)]),
    "digits beside text": (
        [f"{one:04d}" for one in range(300)],
        [*(f"{one:04d}" for one in range(200, 499)), "K1A"],
    ),
}


@pytest.mark.parametrize("kind", ["frame", "csv", "parquet"])
@pytest.mark.parametrize("given", HOUSEHOLDS.values(), ids=HOUSEHOLDS)
def test_a_household_is_one_group_in_every_part(
    tmp_path: Path, given: tuple[list[Any], list[Any]], kind: str
) -> None:
    of_part = {"path": given[0], "obs": given[1], "test": given[1][::-1]}
    tables: dict[str, Any] = {part: shop(300, hh=names) for part, names in of_part.items()}
    if kind != "frame":
        tables = {part: write(one, tmp_path / f"{part}.{kind}") for part, one in tables.items()}
    loaded = opened(tables.pop("path"), groups="hh", **tables)
    found = []
    for part in (loaded.data, loaded.obs, loaded.test):
        assert part is not None
        assert part.groups is not None
        found += part.groups.tolist()
    names = [str(one) for part in of_part.values() for one in part]
    assert len({*names}) == len({*found}) == len({*zip(names, found, strict=True)})


def test_frames_and_files_can_be_mixed(tmp_path: Path) -> None:
    file = write(shop(200, seed=2), tmp_path / "o.csv")
    whole = write(shop(), tmp_path / "t.parquet")
    for table, obs in ((shop(), file), (whole, shop(200, seed=2)), (shop(), str(file))):
        parts = opened(table, obs=obs).hybrid(0)
        assert parts.obs is not None
        assert len(parts.obs) == 200
    with pytest.raises(ConfigError, match=r"a frame has no path, got 't.parquet'"):
        opened(shop(), path="t.parquet")
    with pytest.raises(DataError, match=r"must be a frame in memory .*, got list"):
        opened(shop(), test=[1, 2])
    with pytest.raises(DataError, match=r"must be a frame in memory .*, got int"):
        opened(7)


def test_a_part_of_another_name_is_refused() -> None:
    with pytest.raises(InvalidValueError, match=r"one of 'obs', 'validation', 'test', got 'valid'"):
        Columns(**ROLES).of(shop(), valid=shop())


def test_several_names_are_not_one_text() -> None:
    with pytest.raises(InvalidValueError, match="exclude must be a tuple, got 'xy'"):
        Columns(**ROLES, exclude="xy")  # type: ignore[arg-type]  # the mistake


def test_people_who_train_are_named_among_those_who_report() -> None:
    table = shop(900, kind=["rct", "obs"] * 450, hh=np.arange(900) // 6)
    loaded = opened(table, source="kind", groups="hh")
    with pytest.warns(DataWarning) as said:
        parts = loaded.hybrid(0)
    whole = parts.test.groups
    assert whole is not None
    text = f"{len(whole.unique())} of {len(whole.unique())} groups of test rows have training rows"
    assert any(text in str(one.message) for one in said)
    opened(table, groups="hh").hybrid(0)  # what is split keeps them apart, and nothing is said


@pytest.mark.parametrize("kind", ["hashed", "target", "categorical"])
def test_codes_of_any_size_are_encoded(kind: str) -> None:
    codes = np.array([2**62, 2**62 + 1, 2**62 + 2])
    loaded = opened(shop(code=codes[np.arange(900) % 3]), features=("code",), **{kind: ("code",)})
    assert len(loaded.data.features.unique(dim=0)) == 3
    with pytest.warns(DataWarning, match="hold another whole number in every row"):
        opened(shop(code=2**62 + np.arange(900)), features=("code",), hashed=("code",))


def test_a_number_means_the_same_arm_in_every_precision() -> None:
    price = {0: 0, 0.1: 1}
    tables = [shop(arm=(shop()["arm"] * 0.1).astype(kind)) for kind in ("f2", "f4", "f8")]
    found = [opened(table, cost=price).data for table in tables]
    assert [one.treatment_names for one in found] == [("0", "0.1")] * 3
    assert all(torch.equal(one.treatment, found[0].treatment) for one in found)


def test_a_part_without_a_treatment_is_named() -> None:
    with pytest.raises(InvalidValueError, match=r"among the test rows, got no row with \['1'\]"):
        opened(shop(), test=shop(arm=0))


def test_what_has_no_file_is_split_off(tmp_path: Path) -> None:
    parts = opened(shop(900), test=shop(300, seed=1), obs=shop(200, seed=2)).hybrid(0)
    assert parts.rct is not None
    assert parts.obs is not None
    assert [len(parts.rct), len(parts.obs), len(parts.validation)] == [300, 200, 600]
    assert len(parts.test) == 300


def test_an_experiment_alone_can_keep_all_its_rows() -> None:
    recipe = HybridRecipe(make_obs=False)
    parts = opened(shop(900), recipe=recipe).hybrid(0)
    assert parts.obs is None
    assert parts.rct is not None
    assert len(parts.rct) + len(parts.validation) + len(parts.test) == 900
    held = {"validation": shop(90, seed=1), "test": shop(90, seed=2)}
    whole = opened(shop(900), recipe=recipe, **held).hybrid(0)
    assert whole.rct is not None
    assert whole.rct.revenue.tolist() == pytest.approx(shop(900)["spend"].tolist())


def test_observational_rows_are_given_once() -> None:
    table = shop(kind=["rct", "obs"] * 450)
    with pytest.raises(DataError, match="obs rows must stand in the table or in a file, not in"):
        opened(table, source="kind", obs=shop(seed=1))
    parts = opened(table, source="kind", test=shop(seed=1)).hybrid(0)
    assert len(parts.test) == 900


def test_rows_of_an_old_policy_alone_are_weighted_with_a_plain_warning() -> None:
    rows = 20_000
    draw = np.random.default_rng(0)
    x = draw.normal(size=rows)
    chance = 1 / (1 + np.exp(-1.5 * x))
    arm = (draw.random(rows) < chance).astype(int)
    table = pd.DataFrame({"arm": arm, "spend": 3 * x + 2 * arm + draw.normal(size=rows), "x": x})
    loaded = opened(table, features=("x",), source="obs")
    with pytest.warns(DataWarning, match=r"all observational: .* estimated chances .* features"):
        parts = loaded.hybrid(0)
    assert parts.rct is None
    assert parts.obs is not None
    assert parts.obs.source == "obs"
    test = parts.test
    means = [
        float((test.weight * test.revenue)[test.treatment == arm].sum() / len(test))
        for arm in range(2)
    ]
    naive = float(
        test.revenue[test.treatment == 1].mean() - test.revenue[test.treatment == 0].mean()
    )
    assert naive > 4
    assert means[1] - means[0] == pytest.approx(2, abs=0.5)


@pytest.mark.parametrize("arms", [2, 64])
def test_no_weight_of_an_old_policy_is_beyond_its_limit(arms: int) -> None:
    arm = np.arange(3200) % arms
    table = shop(3200, arm=arm, x=9 * arm / arms + np.random.default_rng(0).normal(size=3200))
    loaded = opened(table, features=("x",), source="obs", cost=dict.fromkeys(range(arms), 1))
    with pytest.warns(DataWarning, match="all observational"):
        test = loaded.hybrid(0).test
    assert test.propensity is not None
    assert float(test.propensity.min()) >= min(0.01, 0.5 / arms) - 1e-7
    torch.testing.assert_close(test.propensity.sum(dim=1), torch.ones(len(test)))


def test_where_nothing_tells_people_apart_the_chances_are_the_shares() -> None:
    table = shop(arm=np.arange(900) % 3 // 2)
    for loaded, share in (
        (opened(table, features=(), source="obs"), 1 / 3),
        (opened(shop(arm=0), source="obs", cost={0: 1}), 1.0),
    ):
        with pytest.warns(DataWarning, match="all observational"):
            chances = loaded.hybrid(0).test.propensity
        assert chances is not None
        assert chances[:, -1].tolist() == pytest.approx([share] * len(chances), abs=0.03)


def test_rows_of_an_old_policy_are_measured_on_randomised_rows_where_there_are_some() -> None:
    held = {"validation": shop(90, seed=1), "test": shop(90, seed=2)}
    parts = opened(shop(), source="obs", **held).hybrid(0)
    assert parts.rct is None
    assert parts.obs is not None
    assert len(parts.obs) == 900
    assert parts.test.propensity is None


# Many categories, replaced by revenue --------------------------------------------------------


ROLES_TWICE: list[tuple[dict[str, Any], str]] = [
    ({"cost": "arm"}, "cost must be .* 'arm', which is treatment, too. Where .* cost={0: 0, 5: 5}"),
    ({"cost": "spend"}, "cost must be a column of its own, got 'spend', which is revenue, too"),
    ({"revenue": "arm"}, "revenue must be .* 'arm', which is treatment, too"),
    ({"groups": "arm"}, "groups must be .* 'arm', which is treatment, too"),
    ({"source": "x", "groups": "x"}, "source must be .* 'x', which is groups, too"),
    ({"propensity": ("x", "arm")}, "treatment must be .* 'arm', which is propensity, too"),
]


@pytest.mark.parametrize(("roles", "message"), ROLES_TWICE)
def test_a_column_has_one_role(roles: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        Columns(**{**ROLES, **roles})
    assert Columns(**ROLES, propensity=("x", "x")).propensity  # of two treatments, half each


def test_rows_are_one_part(tmp_path: Path) -> None:
    table, path = shop(), write(shop(), tmp_path / "t.parquet")
    again = tmp_path / "again.parquet"
    again.symlink_to(path)
    with pytest.raises(InvalidValueError, match="test must hold rows of its own, got those of the"):
        opened(path, test=again)
    other = write(shop(seed=1), tmp_path / "u.parquet")
    with pytest.raises(
        InvalidValueError, match=r"test must .* got those of validation, .*u.parquet"
    ):
        opened(path, validation=other, test=str(other))
    with pytest.raises(InvalidValueError, match="obs must hold rows of its own, got those of the"):
        Columns(**ROLES).of(table, obs=table)


@pytest.mark.parametrize("make_obs", [False, True])
def test_gaps_are_filled_from_training_rows_alone(tmp_path: Path, make_obs: bool) -> None:
    table = shop(3_000, row=np.arange(3_000) + 0.5)
    table.loc[::3, "x"] = np.nan
    path = write(table, tmp_path / "t.parquet")
    thirds = {"rct": 0.2, "validation": 0.2, "test": 0.2, "pool": 0.3, "policy": 0.1}
    recipe = HybridRecipe(make_obs=make_obs, **thirds)
    options: dict[str, Any] = {"features": ("x", "row"), "missing": "impute", "recipe": recipe}
    found = opened(path, **options).hybrid(0)
    training = [one.features for one in (found.rct, found.obs) if one is not None]
    known = torch.cat([one[one[:, 1] == 0, 0] for one in training]).double().mean()
    assert found.encoder is not None
    assert found.encoder.columns[0].fill == pytest.approx(float(known), rel=1e-12)  # type: ignore[attr-defined]  # a NumberColumn
    for part in (found.rct, found.validation, found.test):
        assert part is not None
        assert bool((part.features[part.features[:, 1] == 1, 0] == known.float()).all())
        rows = table.iloc[part.features[:, 2].long().numpy()]
        assert torch.equal(found.encoder.encode(rows), part.features)
    if make_obs:  # the policy of the logs, which is none of the methods, has seen all gaps filled
        return
    for part in (found.validation, found.test):  # what they hold is not looked at
        table.loc[part.features[:, 2].long().numpy(), "x"] *= 1_000
    again = opened(table, **options).hybrid(0)
    assert again.encoder == found.encoder
    assert torch.equal(found.rct.features, again.rct.features)  # type: ignore[union-attr]  # there is one


def test_a_number_that_no_training_row_knows_is_refused() -> None:
    table = shop(900, row=np.arange(900) + 0.5)
    options: dict[str, Any] = {"features": ("x", "row"), "missing": "impute"}
    options |= {"recipe": HybridRecipe(make_obs=False)}
    test = opened(table, **options).hybrid(0).test.features[:, 1].long().numpy()
    table.loc[~table.index.isin(test), "x"] = np.nan
    with pytest.raises(
        InvalidValueError, match=r"'x' has no value in any of the \d+ training rows"
    ):
        opened(table, **options).hybrid(0)


def test_target_statistics_are_learned_from_training_rows_alone() -> None:
    rows = 6000
    draw = np.random.default_rng(0)
    city = draw.integers(0, 300, rows)
    table = shop(rows, city=[f"c{one}" for one in city], spend=(city % 7) + draw.normal(size=rows))
    recipe = HybridRecipe(make_obs=False, pool=0.1, rct=0.5, validation=0.1, test=0.2)
    loaded = opened(table, features=("x", "city"), target=("city",), recipe=recipe)
    assert loaded.encoder.feature_names == ("x", "city")
    parts = loaded.hybrid(0)
    test, encoder = parts.test, parts.encoder
    assert encoder is not None
    correlation = torch.corrcoef(torch.stack([test.features[:, 1], test.revenue]))[0, 1]
    assert float(correlation) > 0.8
    spoilt = table.copy()
    held = np.isin(spoilt["spend"].to_numpy(np.float32), test.revenue.numpy())
    spoilt.loc[held, "spend"] = -spoilt.loc[held, "spend"]
    again = opened(spoilt, features=("x", "city"), target=("city",), recipe=recipe).hybrid(0)
    assert again.encoder == encoder
    assert parts.rct is not None
    new = encoder.encode(pd.DataFrame({"x": [0.0, 0.0], "city": ["never seen", "c0"]}))
    assert float(new[0, 1]) == pytest.approx(float(parts.rct.revenue.double().mean()))
    assert float(new[1, 1]) != float(new[0, 1])


def test_a_category_of_the_test_file_alone_gets_the_mean() -> None:
    options = {"features": ("city",), "target": ("city",), "recipe": HybridRecipe(make_obs=False)}
    held = {"validation": shop(90, seed=1), "test": shop(90, seed=2, city="new")}
    parts = opened(shop(spend=np.arange(900.0)), **options, **held).hybrid(0)
    assert parts.test.features.unique().tolist() == pytest.approx([449.5])


def test_training_rows_do_not_see_their_own_revenue() -> None:
    rows = 2000
    noise = np.random.default_rng(0).normal(size=rows)
    table = shop(rows, city=[f"c{row // 2 % 500}" for row in range(rows)], spend=noise)
    recipe = HybridRecipe(make_obs=False, pool=0.1, rct=0.5, validation=0.1, test=0.2)
    rct = opened(table, features=("x", "city"), target=("city",), recipe=recipe).hybrid(0).rct
    assert rct is not None
    correlation = torch.corrcoef(torch.stack([rct.features[:, 1], rct.revenue]))[0, 1]
    assert float(correlation) < 0.1


def test_training_rows_do_not_see_the_revenue_of_their_household() -> None:
    house = np.arange(2000) // 5
    table = shop(2000, city=[f"c{one}" for one in house], hh=house)
    table["spend"] = np.random.default_rng(0).normal(size=400)[house]
    recipe = HybridRecipe(make_obs=False, pool=0.1, rct=0.5, validation=0.1, test=0.2)
    options: dict[str, Any] = {"features": ("city",), "target": ("city",), "recipe": recipe}
    apart = opened(table, groups="hh", **options).hybrid(0).rct
    assert apart is not None
    assert len(apart.features.unique()) <= 5  # of each fold the mean of the others: nothing known
    held = {"test": table, "validation": table.copy()}
    whole = opened(table[:60].assign(hh=0), groups="hh", **options, **held)
    with pytest.warns(DataWarning, match="have training rows"):
        rct = whole.hybrid(0).rct
    assert rct is not None
    assert rct.features.unique().tolist() == pytest.approx([float(table["spend"][:60].mean())])


@pytest.mark.parametrize("factor", [1.0, 3.0, 0.3, 100.0, 0.01])
@pytest.mark.parametrize("outcome", ["revenue", "cost"])
def test_logs_in_another_unit_are_named(
    factor: float, outcome: str, recwarn: pytest.WarningsRecorder
) -> None:
    """The experiment in dollars, the logs in cents; selection alone says nothing."""
    trial, logs = shop(spend=5.0, fee=2.0), shop(3_000, seed=1, spend=5.0, fee=2.0)
    logs[{"revenue": "spend", "cost": "fee"}[outcome]] *= factor
    opened(trial, cost="fee", obs=logs)
    told = [str(one.message) for one in recwarn if issubclass(one.category, DataWarning)]
    if factor in (100.0, 0.01):
        (line,) = told
        size = {"revenue": 5.0, "cost": 2.0}[outcome]
        assert line.startswith(f"the {outcome} of observational rows is {factor * size:.4g} in")
        assert f"under the same treatments {size:.4g}: if one of them is in another unit" in line
    else:
        assert not told


def test_a_rare_purchase_that_a_small_experiment_missed_is_no_other_unit(
    recwarn: pytest.WarningsRecorder,
) -> None:
    rare = np.where(np.arange(3_000) % 97 == 0, 50.0, 0.0)
    opened(shop(60, spend=0.0), obs=shop(3_000, seed=1, spend=rare))
    assert not [one for one in recwarn if issubclass(one.category, DataWarning)]
