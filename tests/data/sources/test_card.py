from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from dfl.data import DATASETS, AbstractPackaged, AbstractPublished, Arm, DataCard, Lazada
from dfl.errors import DataError
from dfl.frames import Frame

CARD = DataCard(
    name="toy",
    title="Toy",
    citation="nobody",
    licence="none",
    where="the toy shop",
    files=("toy.csv",),
    rows=4,
    treatment="arm",
    arms=(
        Arm(name="none", value=0, rows=2, means={"sale": 0.5}),
        Arm(name="mail", value=1, rows=2, means={"sale": 2.0}),
    ),
    features=("age",),
    outcomes=("sale",),
    revenue="sale",
    cost="none",
    groups="house",
)
ARMS = np.array([0, 0, 1, 1])
TABLE = pd.DataFrame({"sale": [0.0, 1.0, 1.0, 3.0]})
CARDS = [
    kind.card
    for name in DATASETS.names()
    if issubclass(kind := DATASETS.load(name), AbstractPublished | AbstractPackaged)
]


def test_the_published_file_passes() -> None:
    CARD.verify(Frame.of(TABLE), ARMS)


def test_columns_are_features_roles_and_groups() -> None:
    assert CARD.columns == ("age", "arm", "sale", "house")
    assert CARD.arm_names == ("none", "mail")


@pytest.mark.parametrize(
    ("table", "arms", "message"),
    [
        (TABLE[:3], ARMS[:3], "the whole file must have rows 4, got 3.*the toy shop.*sample=True"),
        (TABLE, np.array([0, 1, 1, 1]), "arm 'none' must have rows 2, got 1"),
        (TABLE + 0.1, ARMS, "arm 'none' must have mean sale 0.5, got 0.6"),
        (TABLE.assign(sale=[0, 1, 1, 3.1]), ARMS, "arm 'mail' must have mean sale 2, got 2.05"),
        (TABLE.assign(sale=[0, np.nan, 1, 3]), ARMS, "arm 'none' must have mean sale 0.5, got nan"),
    ],
)
def test_another_file_is_named_with_what_differs(
    table: pd.DataFrame, arms: np.ndarray, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        CARD.verify(Frame.of(table), arms)


def test_what_was_not_published_is_not_compared() -> None:
    arms = tuple(Arm(name=arm.name, value=arm.value) for arm in CARD.arms)
    replace(CARD, rows=None, arms=arms).verify(Frame.of(TABLE[:1] * 7), ARMS[:1])


@pytest.mark.parametrize("card", [*CARDS, Lazada.observational_card], ids=lambda card: card.name)
def test_every_card_is_complete_and_adds_up(card: DataCard) -> None:
    assert all((card.title, card.citation, card.licence, card.where, card.revenue, card.cost))
    assert len(set(card.columns)) == len(card.columns)
    counts = [arm.rows for arm in card.arms]
    if None not in counts:
        assert sum(count or 0 for count in counts) == card.rows


@pytest.mark.parametrize("card", CARDS, ids=lambda card: card.name)
def test_the_page_of_data_cards_says_what_the_cards_say(card: DataCard) -> None:
    page = " ".join((Path(__file__).parents[3] / "docs" / "data.md").read_text().split())
    for text in (card.name, card.title, card.citation, card.licence, card.where, card.unverified):
        assert text in page
    for option in card.options:
        assert f"`{option}`" in page
