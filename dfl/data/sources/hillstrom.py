"""`Hillstrom`: the MineThatData e-mail experiment."""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

from dfl.checks import check_choice, check_number
from dfl.data.sources.card import Arm, DataCard
from dfl.data.sources.published import AbstractPublished
from dfl.data.sources.source import LoadedData

__all__ = ["Hillstrom"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Hillstrom(AbstractPublished):
    """64,000 customers of a clothing shop, no e-mail, one on women's or one on men's wear.

    Cost is ``cost_per_visit * visit + cost_per_mail * mailed``.

    Args:
        revenue: ``"spend"`` (dollars in two weeks), ``"visit"`` or ``"conversion"`` (0 or 1).
        cost_per_visit: price of a visit to the shop's site, a paid click, in currency, >= 0.
        cost_per_mail: price of one e-mail, in the same currency, >= 0.

    Raises:
        InvalidValueError: if an option is out of its range.
    """

    card: ClassVar[DataCard] = DataCard(
        name="hillstrom",
        title="MineThatData E-Mail Analytics And Data Mining Challenge",
        citation="K. Hillstrom, MineThatData blog, 20 March 2008",
        licence="none stated",
        where="https://blog.minethatdata.com/2008/03/minethatdata-e-mail-analytics-and-data.html",
        files=(
            "hillstrom.parquet",
            "hillstrom.csv",
            "Kevin_Hillstrom_MineThatData_E-MailAnalytics_DataMiningChallenge_2008.03.20.csv",
        ),
        rows=64_000,
        treatment="segment",
        arms=(
            Arm(
                name="no e-mail",
                value="No E-Mail",
                rows=21_306,
                means={"visit": 0.106167, "conversion": 0.00572609, "spend": 0.652789},
            ),
            Arm(
                name="women's e-mail",
                value="Womens E-Mail",
                rows=21_387,
                means={"visit": 0.151400, "conversion": 0.00883715, "spend": 1.07720},
            ),
            Arm(
                name="men's e-mail",
                value="Mens E-Mail",
                rows=21_307,
                means={"visit": 0.182757, "conversion": 0.0125311, "spend": 1.42262},
            ),
        ),
        features=("recency", "history", "mens", "womens", "zip_code", "newbie", "channel"),
        outcomes=("visit", "conversion", "spend"),
        revenue="spend in dollars over the two weeks after the e-mail",
        cost="1 per visit (a paid click), to be priced by the user",
        options={
            "revenue": "spend, visit or conversion",
            "cost_per_visit": "currency per visit",
            "cost_per_mail": "currency per e-mail sent",
        },
    )

    revenue: Literal["spend", "visit", "conversion"] = "spend"
    cost_per_visit: float = 1.0
    cost_per_mail: float = 0.0

    def __post_init__(self) -> None:
        """Check the options."""
        check_choice("revenue", self.revenue, self.card.outcomes)
        check_number("cost_per_visit", self.cost_per_visit, at_least=0)
        check_number("cost_per_mail", self.cost_per_mail, at_least=0)

    def load(self) -> LoadedData:
        """Read the file, check it, and give its columns their roles."""
        rows = self.read()
        mailed = rows.per_arm((0.0, 1.0, 1.0))
        cost = self.cost_per_visit * rows.amounts("visit") + self.cost_per_mail * mailed
        return rows.loaded(revenue=rows.amounts(self.revenue), cost=cost, recipe=self.recipe)
