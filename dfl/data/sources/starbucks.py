"""`Starbucks`: the promotion experiment of the Starbucks take-home exercise."""

from dataclasses import dataclass
from typing import ClassVar, final

from dfl.data.sources.card import Arm, DataCard
from dfl.data.sources.published import AbstractPublished
from dfl.data.sources.source import LoadedData

__all__ = ["Starbucks"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Starbucks(AbstractPublished):
    """Some 84,500 customers, a promotion of one product or none.

    Revenue is 10 dollars per purchase, cost 0.15 dollars per promotion sent, as the exercise
    says.
    """

    card: ClassVar[DataCard] = DataCard(
        name="starbucks",
        title="Starbucks promotion exercise (training.csv)",
        citation="Starbucks take-home assignment, Udacity Data Scientist Nanodegree",
        licence="none stated",
        where="the Starbucks portfolio exercise of Udacity's Data Scientist Nanodegree",
        files=("starbucks.parquet", "starbucks.csv", "starbucks/training.csv"),
        rows=None,
        treatment="Promotion",
        arms=(Arm(name="no promotion", value="No"), Arm(name="promotion", value="Yes")),
        features=("V1", "V2", "V3", "V4", "V5", "V6", "V7"),
        outcomes=("purchase",),
        revenue="10 dollars per purchase",
        cost="0.15 dollars per promotion sent",
        unverified=(
            "columns are those of public descriptions; the exact number of rows is not published "
            "by the owner, so neither rows nor means are checked"
        ),
    )

    def load(self) -> LoadedData:
        """Read the file, check it, and give its columns their roles."""
        rows = self.read()
        return rows.loaded(
            revenue=10 * rows.amounts("purchase"),
            cost=rows.per_arm((0.0, 0.15)),
            recipe=self.recipe,
        )
