"""What holds for every published data set, on small files in its schema."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from dfl.data import DATASETS, AbstractPublished, DataCard, HybridRecipe, LoadedData, load
from dfl.data.sources.reading import read_frame
from dfl.errors import DataError, DataNotFoundError, InvalidValueError
from tests.data.conftest import small_table, write

KINDS = {
    name: kind
    for name in DATASETS.names()
    if issubclass(kind := DATASETS.load(name), AbstractPublished)
}
RECIPE = HybridRecipe(policy=0.2, pool=0.4, rct=0.15, validation=0.1, test=0.15, epsilon=1.0)


def place(folder: Path, name: str, change: Callable[[pd.DataFrame], pd.DataFrame]) -> None:
    """Put a small file where the loader of ``name`` looks for it."""
    card = KINDS[name].card
    table = change(small_table(card))
    places = {
        "lazada": ["lzd_data_public/full_testset.csv", "lzd_data_public/full_trainset.csv"],
        "mt-lift": ["MT-LIFT/train.csv", "MT-LIFT/test.csv"],
    }
    for where in places.get(name, [card.files[0]]):
        (folder / where).parent.mkdir(exist_ok=True)
        write(table, folder / where)


def unchanged(table: pd.DataFrame) -> pd.DataFrame:
    return table


@pytest.mark.parametrize("name", KINDS)
def test_a_sample_in_the_published_schema_loads(data_folder: Path, name: str) -> None:
    place(data_folder, name, unchanged)
    loaded = load(name, sample=True, recipe=RECIPE)
    card, data = KINDS[name].card, loaded.data
    assert loaded.card is card
    assert data.source == "rct"
    assert len(data) == (1260 if name == "mt-lift" else 630)
    assert data.features.dtype == data.revenue.dtype == data.cost.dtype == torch.float32
    assert data.treatment_names == card.arm_names
    assert data.feature_names == loaded.encoder.feature_names
    assert data.treatment[: len(card.arms)].tolist() == list(range(len(card.arms)))
    assert (data.groups is None) == (card.groups is None)
    hybrid = loaded.hybrid(0)
    assert hybrid.card is card
    assert hybrid.encoder is loaded.encoder


@pytest.mark.parametrize("name", [name for name in KINDS if KINDS[name].card.rows is not None])
def test_a_sample_is_not_taken_for_the_whole_file(data_folder: Path, name: str) -> None:
    place(data_folder, name, unchanged)
    with pytest.raises(DataError, match=f"not the published {name} file: the whole file must"):
        load(name)


@pytest.mark.parametrize("name", KINDS)
def test_a_missing_file_says_where_to_get_it(data_folder: Path, name: str) -> None:
    with pytest.raises(DataNotFoundError) as caught:
        load(name)
    assert KINDS[name].card.where in str(caught.value)
    assert str(data_folder) in str(caught.value)


@pytest.mark.parametrize("name", KINDS)
def test_a_missing_column_is_named(data_folder: Path, name: str) -> None:
    column = KINDS[name].card.outcomes[0]
    place(data_folder, name, lambda table: table.drop(columns=column))
    with pytest.raises(DataError, match=f"must have the columns .*{column}"):
        load(name, sample=True)


@pytest.mark.parametrize("name", KINDS)
def test_an_unknown_arm_is_named(data_folder: Path, name: str) -> None:
    treatment = KINDS[name].card.treatment
    kind: Any = "letter" if name in ("hillstrom", "gotv", "starbucks") else 77

    def spoil(table: pd.DataFrame) -> pd.DataFrame:
        return table.assign(**{treatment: [*table[treatment][:-1], kind]})

    place(data_folder, name, spoil)
    with pytest.raises(DataError, match=f"{treatment!r} of {name} must hold one of .* in row 629"):
        load(name, sample=True)


@pytest.mark.parametrize("name", KINDS)
def test_missing_outcomes_are_refused(data_folder: Path, name: str) -> None:
    outcome = KINDS[name].card.outcomes[-1]
    place(data_folder, name, lambda table: table.assign(**{outcome: [np.nan, *[1.0] * 629]}))
    with pytest.raises(
        InvalidValueError,
        match=f"{outcome!r} .*must be known and finite in every row, got [12] .* row 0",
    ):
        load(name, sample=True)


@pytest.mark.parametrize("name", KINDS)
def test_missing_features_are_refused(data_folder: Path, name: str) -> None:
    feature = KINDS[name].card.features[2]
    place(data_folder, name, lambda table: table.assign(**{feature: [np.nan, *[1.0] * 629]}))
    with pytest.raises(InvalidValueError, match=f"{feature!r} must have no missing value"):
        load(name, sample=True)


def outcome_rows(loaded: LoadedData) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    return loaded.data.treatment, loaded.data.revenue, loaded.data.cost


def test_hillstrom_prices_visits_and_mails(data_folder: Path) -> None:
    place(data_folder, "hillstrom", unchanged)
    table = small_table(KINDS["hillstrom"].card)
    visit = torch.tensor(table["visit"].to_numpy(np.float32))
    arm, revenue, cost = outcome_rows(load("hillstrom", sample=True))
    assert revenue.tolist() == table["spend"].tolist()
    assert torch.equal(cost, visit)
    options = {"revenue": "conversion", "cost_per_visit": 0.5, "cost_per_mail": 0.25}
    _, revenue, cost = outcome_rows(load("hillstrom", sample=True, **options))
    assert revenue.tolist() == table["conversion"].tolist()
    assert torch.equal(cost, 0.5 * visit + 0.25 * (arm > 0))


def test_hillstrom_one_hot_encodes_its_text(data_folder: Path) -> None:
    place(data_folder, "hillstrom", unchanged)
    names = load("hillstrom", sample=True).encoder.feature_names
    assert names[4:7] == ("zip_code=Rural", "zip_code=Surburban", "zip_code=Urban")


def test_gotv_charges_each_letter_and_keeps_households(data_folder: Path) -> None:
    place(data_folder, "gotv", unchanged)
    loaded = load("gotv", sample=True)
    arm, _, cost = outcome_rows(loaded)
    assert torch.equal(cost, torch.tensor([0, 0.01, 0.15, 0.30, 0.45])[arm])
    assert loaded.data.groups is not None
    assert loaded.data.groups.tolist() == [row // 2 for row in range(630)]


def test_penn_pays_the_bonus_to_those_back_in_time(data_folder: Path) -> None:
    weeks = [6, 6, 6, 6, 6, 7, 6, 13, 7, 7, 12, 13, 1, 12]

    def change(table: pd.DataFrame) -> pd.DataFrame:
        return table[:14].assign(inuidur1=weeks)

    place(data_folder, "penn-bonus", change)
    _, revenue, cost = outcome_rows(load("penn-bonus", sample=True))
    assert revenue.tolist() == [-week for week in weeks]
    assert cost.tolist() == pytest.approx([0, 3, 3, 6, 6, 3, 6, 0, 0, 3, 0, 0, 6, 6])


def test_starbucks_counts_dollars(data_folder: Path) -> None:
    place(data_folder, "starbucks", unchanged)
    arm, revenue, cost = outcome_rows(load("starbucks", sample=True))
    assert revenue.unique().tolist() == [0, 10]
    assert torch.equal(cost, 0.15 * arm)


def test_mt_lift_reads_one_file_that_holds_both(data_folder: Path) -> None:
    table = small_table(KINDS["mt-lift"].card)
    path = write(table, data_folder / "both.parquet")
    arm, revenue, cost = outcome_rows(load("mt-lift", path=path, sample=True))
    assert arm.tolist() == table["treatment"].tolist()
    assert revenue.tolist() == table["conversion"].tolist()
    assert cost.tolist() == table["click"].tolist()


@pytest.mark.parametrize("given", ["lzd_data_public", "lzd_data_public/full_testset.csv"])
def test_lazada_is_a_pair(data_folder: Path, given: str) -> None:
    place(data_folder, "lazada", unchanged)
    loaded = load("lazada", path=data_folder / given, sample=True, cost_per_voucher=0.5)
    assert loaded.obs is not None
    assert (loaded.data.source, loaded.obs.source) == ("rct", "obs")
    assert torch.equal(loaded.obs.cost, 0.5 * loaded.obs.treatment)
    assert loaded.hybrid(0).obs is loaded.obs


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("f0", 3.0, "the least f0 is 3.0"),
        ("f1", 5.0, "0.0% of f1 equal 10.059654"),
        ("f4", 5.0, "0.0% of f4 equal 10.280525"),
    ],
)
def test_synthetic_criteo_files_are_found_out(
    data_folder: Path, column: str, values: float, message: str
) -> None:
    place(data_folder, "criteo", lambda table: table.assign(**{column: values}))
    with pytest.raises(DataError, match=f"not the real Criteo Uplift v2.1 file: {message}"):
        load("criteo", sample=True)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("hillstrom", {"revenue": "clicks"}, "revenue must be one of 'visit', .*got 'clicks'"),
        ("hillstrom", {"cost_per_mail": -1.0}, "cost_per_mail must be >= 0, got -1"),
        ("gotv", {"costs": (0.0, 1.0)}, r"costs must be 5 numbers >= 0, got \(0.0, 1.0\)"),
        ("penn-bonus", {"bonuses": (-1.0,) * 7}, "bonuses must be 7 numbers >= 0"),
        ("lazada", {"cost_per_voucher": -0.1}, "cost_per_voucher must be >= 0, got -0.1"),
    ],
)
def test_bad_options_are_refused(name: str, options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidValueError, match=message):
        load(name, **options)


REAL = {
    "hillstrom": ("hillstrom.parquet", False),
    "gotv": ("gotv_social_pressure.parquet", False),
    "penn-bonus": ("penn_bonus.parquet", False),
    "criteo": ("criteo_uplift_v2_1_sample1k.parquet", True),
}


@pytest.mark.parametrize("name", REAL)
def test_the_real_file_is_the_published_one(
    real_data: Path | None, data_folder: Path, name: str
) -> None:
    file, sample = REAL[name]
    path = None if real_data is None else real_data / file
    if path is None or not path.is_file():
        print(f"{file} not found: a small file is compared with a card made from itself instead")
        place(data_folder, name, unchanged)
        rows = KINDS[name]().read(card=as_it_is(KINDS[name].card, data_folder))
        zeros = np.zeros(len(rows.table), dtype=np.float32)
        assert len(rows.loaded(revenue=zeros, cost=zeros, recipe=RECIPE).data) == 630
        return
    loaded = load(name, path=path, sample=sample)
    assert len(loaded.data) == (1000 if sample else KINDS[name].card.rows)
    assert torch.equal(loaded.encoder.encode(read_frame(path)), loaded.data.features)


def as_it_is(card: DataCard, folder: Path) -> DataCard:
    """Return the card that a small file fulfils."""
    table = pd.read_parquet(folder / card.files[0])
    arms = tuple(
        replace(
            arm,
            rows=int((table[card.treatment] == arm.value).sum()),
            means=table[table[card.treatment] == arm.value][list(card.outcomes)].mean().to_dict(),
        )
        for arm in card.arms
    )
    return replace(card, rows=len(table), arms=arms)
