"""`ThorntonHiv`: cash for learning one's HIV result, in the package causaldata."""

from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from dfl.data.hybrid import HybridRecipe
from dfl.data.sources.card import Arm, DataCard
from dfl.data.sources.packaged import AbstractPackaged
from dfl.data.sources.published import PublishedRows
from dfl.errors import MissingExtraError
from dfl.frames import Frame

__all__ = ["ThorntonHiv"]

_HIGHEST = (0.0, 0.5, 1.0, 2.0, 3.0)  # incentive of each arm at most, in dollars


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class ThorntonHiv(AbstractPackaged):
    """2,834 people in rural Malawi, offered 0 to 3 dollars for coming to learn their HIV result.

    The amount was drawn at random and paid on attendance, so that cost is random; the response
    is strong and concave. Amounts are put into five arms.
    """

    card: ClassVar[DataCard] = DataCard(
        name="thornton-hiv",
        title="The demand for, and impact of, learning HIV status: cash incentives in Malawi",
        citation="Thornton (2008), American Economic Review 98(5):1829-1863",
        licence="MIT (of the package causaldata)",
        where="the package causaldata: pip install 'dfl-toolkit[data]'",
        files=("thornton_hiv.parquet", "thornton_hiv.csv"),
        rows=2_834,
        treatment="tinc",
        arms=(
            Arm(name="nothing", value="0", rows=623, means={"got": 0.338684}),
            Arm(name="up to $0.50", value="0-0.5", rows=560, means={"got": 0.673214}),
            Arm(name="up to $1", value="0.5-1", rows=580, means={"got": 0.772414}),
            Arm(name="up to $2", value="1-2", rows=699, means={"got": 0.862661}),
            Arm(name="up to $3", value="2-3", rows=372, means={"got": 0.852151}),
        ),
        features=("age", "distvct"),
        outcomes=("got",),
        revenue="1 for a result that was learned, else 0",
        cost="dollars paid: the incentive that was drawn, if the result was learned",
        unverified=(
            "the table has 4,820 rows; kept are those whose incentive and attendance are known. "
            "The result of the test itself is left out of the features, for nobody may be chosen "
            "by it"
        ),
    )

    recipe: HybridRecipe = field(
        default_factory=lambda: HybridRecipe(
            policy=0.1, pool=0.4, rct=0.2, validation=0.1, test=0.2
        )
    )

    def installed(self) -> object:
        """Return the table of the package, which is not itself imported."""
        try:
            import pandas

            found = find_spec("causaldata")
        except ModuleNotFoundError:
            found = None
        if found is None or found.origin is None:
            raise MissingExtraError(
                "'thornton-hiv' of data needs the packages 'causaldata' and 'pandas', which are "
                "not installed: pip install 'dfl-toolkit[data]'"
            )
        file = Path(found.origin).parent / "thornton_hiv" / "thornton_hiv.dta"
        return pandas.read_stata(file, columns=[*self.card.columns])

    def arms(self, table: Frame) -> NDArray[np.int64]:
        """Put the incentives into the five arms."""
        incentive = table.column("tinc").numbers()
        known = np.isfinite(incentive) & np.isfinite(table.column("got").numbers())
        return np.where(known, np.searchsorted(_HIGHEST, incentive), -1)

    def amounts(self, rows: PublishedRows) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return attendance, and the incentive where it was paid."""
        attended = rows.amounts("got")
        return attended, attended * rows.amounts("tinc")
