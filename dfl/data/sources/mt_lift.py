"""`MTLift`: Meituan's coupon experiment."""

from dataclasses import dataclass
from typing import ClassVar, final

from dfl.data.sources.card import Arm, DataCard
from dfl.data.sources.published import AbstractPublished
from dfl.data.sources.reading import find_file
from dfl.data.sources.source import LoadedData

__all__ = ["MTLift"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class MTLift(AbstractPublished):
    """5,541,842 people, one of four coupons for food delivery or none: MT-LIFT.

    The published files ``train.csv`` and ``test.csv`` are both randomised and are read as
    one; ``path`` is their folder (by default ``MT-LIFT`` in ``DFL_DATA``) or a single file
    that holds both. Revenue is a conversion, cost a click.
    """

    card: ClassVar[DataCard] = DataCard(
        name="mt-lift",
        title="MT-LIFT, coupon marketing for food delivery in the Meituan app",
        citation=(
            "Huang et al. (2024), Entire Chain Uplift Modeling with Context-Enhanced Learning "
            "for Intelligent Marketing, arXiv:2402.03379"
        ),
        licence="none stated; released for research",
        where="https://github.com/MTDJDSP/MT-LIFT",
        files=("train.csv", "test.csv"),
        rows=5_541_842,
        treatment="treatment",
        arms=tuple(Arm(name=f"treatment {arm}", value=arm) for arm in range(5)),
        features=tuple(f"f{column}" for column in range(99)),
        outcomes=("conversion", "click"),
        revenue="1 for a conversion, else 0",
        cost="1 for a click, else 0",
        unverified=(
            "columns and the number of rows are those of the owners' description; sizes and "
            "means of the arms are not published, nor is it said which treatment is no coupon "
            "(taken to be 0)"
        ),
    )

    def load(self) -> LoadedData:
        """Read both files, check them, and give their columns their roles."""
        folder = "MT-LIFT" if self.path is None else self.path
        files = (find_file(folder, (name,), where=self.card.where) for name in self.card.files)
        rows = self.read(*dict.fromkeys(files))
        return rows.loaded(
            revenue=rows.amounts("conversion"), cost=rows.amounts("click"), recipe=self.recipe
        )
