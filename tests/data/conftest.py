"""Small tables in the schema of each published data set."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from dfl.data import DataCard, UpliftData

TEXT = {
    "zip_code": ["Rural", "Surburban", "Urban"],
    "channel": ["Multichannel", "Phone", "Web"],
    "sex": ["female", "male"],
}


def small_table(card: DataCard, rows: int = 630) -> pd.DataFrame:
    """Rows with the columns of a card, every arm present, outcomes 0 or 1."""
    random = np.random.default_rng(0)
    table: dict[str, object] = {}
    for name in card.features:
        values = random.choice(TEXT[name], rows) if name in TEXT else random.normal(size=rows)
        table[name] = values
    if card.name == "criteo":
        table["f0"] = np.maximum(np.asarray(table["f0"]) + 12.616365, 12.616365)
        table["f1"] = np.where(random.random(rows) < 0.97, 10.059654, 11.0)
        table["f4"] = np.where(random.random(rows) < 0.95, 10.280525, 11.0)
    table[card.treatment] = [card.arms[row % len(card.arms)].value for row in range(rows)]
    for name in card.outcomes:
        table[name] = random.integers(0, 2, rows)
    if card.groups is not None:
        table[card.groups] = np.arange(rows) // 2 * 1.0
    return pd.DataFrame(table)


def write(table: pd.DataFrame, path: Path) -> Path:
    """Write a table in the format its name says."""
    if path.suffix == ".parquet":
        table.to_parquet(path)
    else:
        table.to_csv(path, index=False, sep="\t" if ".tsv" in path.name else ",")
    return path


@pytest.fixture
def data_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty folder that DFL_DATA names."""
    monkeypatch.setenv("DFL_DATA", str(tmp_path))
    return tmp_path


@pytest.fixture
def no_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    """DFL_DATA is not set."""
    monkeypatch.delenv("DFL_DATA", raising=False)


@pytest.fixture
def make_rows() -> Callable[..., UpliftData]:
    """Make randomised rows whose third treatment helps where the first feature is large."""

    def make(rows: int = 600, *, groups: bool = False, seed: int = 0) -> UpliftData:
        generator = torch.Generator().manual_seed(seed)
        features = torch.randn((rows, 3), generator=generator)
        treatment = torch.arange(rows) % 3
        revenue = 1 + features[:, 0] * (treatment == 2) + 0.5 * (treatment == 1)
        cost = treatment * (1 + torch.rand(rows, generator=generator))
        return UpliftData(
            features=features,
            treatment=treatment,
            revenue=revenue,
            cost=cost,
            treatments=3,
            source="rct",
            groups=torch.arange(rows) // 4 if groups else None,
        )

    return make
