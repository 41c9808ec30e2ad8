"""`Criteo`: the Criteo uplift file, and whether a file of that name is the real one."""

from dataclasses import dataclass
from typing import ClassVar, final

import numpy as np
from numpy.typing import NDArray

from dfl.data.sources.card import Arm, DataCard
from dfl.data.sources.published import AbstractPublished
from dfl.data.sources.source import LoadedData
from dfl.errors import DataError

__all__ = ["Criteo"]

_LEAST_F0 = 12.616365
_MODES = {"f1": 10.059654, "f4": 10.280525}
_CLOSE = 1e-4  # files are written with four to fifteen digits


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Criteo(AbstractPublished):
    """13,979,592 people, an advertisement or none: Criteo Uplift v2.1.

    Revenue is a conversion, cost a visit (a paid click). Many files of this name are
    synthetic: even of a sample it is checked that f0 starts and f1 and f4 peak where they do
    in the real file.
    """

    card: ClassVar[DataCard] = DataCard(
        name="criteo",
        title="Criteo Uplift Prediction Dataset v2.1",
        citation=(
            "Diemert, Betlei, Renaudin, Amini (2018), A large scale benchmark for uplift "
            "modeling, AdKDD; arXiv:2111.10106"
        ),
        licence="CC BY-NC-SA 4.0",
        where="https://ailab.criteo.com/criteo-uplift-prediction-dataset/",
        files=(
            "criteo-research-uplift-v2.1.parquet",
            "criteo-research-uplift-v2.1.csv",
            "criteo-research-uplift-v2.1.csv.gz",
        ),
        rows=13_979_592,
        treatment="treatment",
        arms=(
            Arm(
                name="control",
                value=0,
                rows=2_096_937,
                means={"visit": 80_105 / 2_096_937, "conversion": 4_063 / 2_096_937},
            ),
            Arm(
                name="treated",
                value=1,
                rows=11_882_655,
                means={"visit": 576_824 / 11_882_655, "conversion": 36_711 / 11_882_655},
            ),
        ),
        features=tuple(f"f{column}" for column in range(12)),
        outcomes=("visit", "conversion"),
        revenue="1 for a conversion, else 0",
        cost="1 for a visit (a paid click), else 0",
    )

    def load(self) -> LoadedData:
        """Read the file, check it, and give its columns their roles."""
        rows = self.read()
        for name, mode in _MODES.items():
            _check_mode(name, rows.amounts(name), mode)
        _check_least(rows.amounts("f0"))
        return rows.loaded(
            revenue=rows.amounts("conversion"), cost=rows.amounts("visit"), recipe=self.recipe
        )


def _check_mode(name: str, column: NDArray[np.float32], mode: float) -> None:
    """Refuse a column in which fewer than 80 % lie at the mode; it is 95 % or more."""
    share = float((np.abs(column - mode) < _CLOSE).mean())
    if share < 0.8:
        raise _not_real(f"{share:.1%} of {name} equal {mode}, expected more than 80 %")


def _check_least(column: NDArray[np.float32]) -> None:
    least = float(column.min())
    if not abs(least - _LEAST_F0) < _CLOSE:
        raise _not_real(f"the least f0 is {least:.6f}, expected {_LEAST_F0}")


def _not_real(why: str) -> DataError:
    return DataError(
        f"this is not the real Criteo Uplift v2.1 file: {why}. Many files of this name are "
        f"synthetic; get the real one from {Criteo.card.where}."
    )
