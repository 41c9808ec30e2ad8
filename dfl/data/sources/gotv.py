"""`SocialPressure`: the get-out-the-vote letters of 2006."""

from dataclasses import dataclass
from typing import ClassVar, final

from dfl.data.sources.card import Arm, DataCard
from dfl.data.sources.published import AbstractPublished
from dfl.data.sources.source import LoadedData

__all__ = ["SocialPressure"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class SocialPressure(AbstractPublished):
    """344,084 voters of Michigan, one of four letters or none; randomised by household.

    Args:
        costs: price of each letter, in one currency, >= 0, in the order no letter, civic
            duty, Hawthorne, self, neighbours.

    Raises:
        InvalidValueError: if ``costs`` are not five numbers >= 0.
    """

    card: ClassVar[DataCard] = DataCard(
        name="gotv",
        title="Social pressure and voter turnout, Michigan primary of August 2006",
        citation="Gerber, Green, Larimer (2008), American Political Science Review 102(1):33-48",
        licence="research use only (ISPS D001)",
        where="https://isps.yale.edu/research/data/d001 (individual file, saved as Parquet or CSV)",
        files=("gotv_social_pressure.parquet", "gotv_social_pressure.csv", "gotv.parquet"),
        rows=344_084,
        treatment="treatment",
        arms=(
            Arm(name="control", value="Control", rows=191_243, means={"voted": 0.296638}),
            Arm(name="civic duty", value="Civic Duty", rows=38_218, means={"voted": 0.314538}),
            Arm(name="hawthorne", value="Hawthorne", rows=38_204, means={"voted": 0.322374}),
            Arm(name="self", value="Self", rows=38_218, means={"voted": 0.345151}),
            Arm(name="neighbors", value="Neighbors", rows=38_201, means={"voted": 0.377948}),
        ),
        features=(
            "sex",
            "yob",
            "g2000",
            "g2002",
            "p2000",
            "p2002",
            "p2004",
            "hh_size",
            "numberofnames",
            "p2004_mean",
            "g2004_mean",
        ),
        outcomes=("voted",),
        groups="hh_id",
        revenue="1 for a vote, else 0",
        cost=(
            "0, 0.01, 0.15, 0.30 and 0.45 per letter: the proportions 0, 1, 15, 30, 45 that "
            "Sverdrup, Wu, Athey, Wager (arXiv:2306.11979) use"
        ),
        options={"costs": "price of each of the five arms"},
    )

    costs: tuple[float, ...] = (0.0, 0.01, 0.15, 0.30, 0.45)

    def __post_init__(self) -> None:
        """Check the numbers."""
        self.check_per_arm("costs", self.costs)

    def load(self) -> LoadedData:
        """Read the file, check it, and give its columns their roles."""
        rows = self.read()
        return rows.loaded(
            revenue=rows.amounts("voted"), cost=rows.per_arm(self.costs), recipe=self.recipe
        )
