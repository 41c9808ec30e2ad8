"""`PennBonus`: the Pennsylvania reemployment bonus experiment."""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np

from dfl.data.sources.card import Arm, DataCard
from dfl.data.sources.published import AbstractPublished
from dfl.data.sources.source import LoadedData

__all__ = ["PennBonus"]

_QUALIFYING_WEEKS = (0.0, 6.0, 12.0, 6.0, 12.0, 12.0, 12.0)
_DECLINING_ARM = 5


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class PennBonus(AbstractPublished):
    """13,913 people on unemployment insurance, six bonuses for a quick return to work or none.

    Revenue is ``-weeks`` on insurance, cost the bonus paid to those back at work within the
    qualifying weeks; both in weekly benefits. The declining bonus is taken to fall in equal
    steps: ``bonus * (1 - (weeks - 1) / 12)``. Weak signal: for smoke tests only.

    Args:
        bonuses: bonus of each arm, in weekly benefits, >= 0, in the order of the card.

    Raises:
        InvalidValueError: if ``bonuses`` are not seven numbers >= 0.
    """

    card: ClassVar[DataCard] = DataCard(
        name="penn-bonus",
        title="Pennsylvania Reemployment Bonus Demonstration, 1988-89",
        citation=(
            "Bilias (2000), Journal of Applied Econometrics 15(6):575-594; Corson, Decker, "
            "Dunstan, Kerachsky (1992), UI Occasional Paper 92-1"
        ),
        licence="US public-use data",
        where="http://qed.econ.queensu.ca/jae/datasets/bilias001/ (saved as Parquet or CSV)",
        files=("penn_bonus.parquet", "penn_bonus.csv"),
        rows=13_913,
        treatment="tg",
        arms=(
            Arm(name="no bonus", value=0, rows=3_354, means={"inuidur1": 13.3378}),
            Arm(name="low, 6 weeks", value=1, rows=1_385, means={"inuidur1": 13.0599}),
            Arm(name="low, 12 weeks", value=2, rows=2_428, means={"inuidur1": 12.6129}),
            Arm(name="high, 6 weeks", value=3, rows=1_885, means={"inuidur1": 12.9507}),
            Arm(name="high, 12 weeks", value=4, rows=1_745, means={"inuidur1": 12.5054}),
            Arm(name="declining, 12 weeks", value=5, rows=1_831, means={"inuidur1": 13.1906}),
            Arm(name="high, no workshop", value=6, rows=1_285, means={"inuidur1": 12.3354}),
        ),
        features=(
            "female",
            "black",
            "hispanic",
            "othrace",
            "dep",
            "q1",
            "q2",
            "q3",
            "q4",
            "q5",
            "q6",
            "recall",
            "agelt35",
            "agegt54",
            "durable",
            "nondurable",
            "lusd",
            "husd",
            "muld",
        ),
        outcomes=("inuidur1",),
        revenue="minus the weeks on unemployment insurance (first spell), in weekly benefits",
        cost="bonus paid if the spell ends within the qualifying weeks, in weekly benefits",
        options={"bonuses": "bonus of each of the seven arms, in weekly benefits"},
        unverified=(
            "the file does not say what the arms are. Arms 1 to 4 follow the design (bonus of 3 "
            "or 6 weekly benefits, 6 or 12 weeks to qualify); the literature pools 6 with 4, "
            "which leaves the declining bonus for 5. The steps of its decline, and the rule that "
            "the new job must last, are not in the data: costs are an approximation from above"
        ),
    )

    bonuses: tuple[float, ...] = (0.0, 3.0, 3.0, 6.0, 6.0, 6.0, 6.0)

    def __post_init__(self) -> None:
        """Check the numbers."""
        self.check_per_arm("bonuses", self.bonuses)

    def load(self) -> LoadedData:
        """Read the file, check it, and give its columns their roles."""
        rows = self.read()
        weeks = rows.amounts("inuidur1")
        in_time = weeks <= rows.per_arm(_QUALIFYING_WEEKS)
        declines = rows.treatment == _DECLINING_ARM
        left = np.where(declines, 1 - (weeks - 1) / _QUALIFYING_WEEKS[_DECLINING_ARM], 1)
        cost = (rows.per_arm(self.bonuses) * in_time * left).astype(np.float32)
        return rows.loaded(revenue=-weeks, cost=cost, recipe=self.recipe)
