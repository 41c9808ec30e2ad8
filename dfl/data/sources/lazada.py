"""`Lazada`: biased and randomised voucher rows of a web shop, a natural pair."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, final

from dfl.checks import check_number
from dfl.data.encoder import FeatureEncoder
from dfl.data.sources.card import Arm, DataCard
from dfl.data.sources.published import AbstractPublished
from dfl.data.sources.reading import find_file
from dfl.data.sources.source import LoadedData
from dfl.data.uplift_data import Source, UpliftData

__all__ = ["Lazada"]


@final
@dataclass(frozen=True, eq=False, kw_only=True)
class Lazada(AbstractPublished):
    """181,669 randomised and 926,669 observational customers, a voucher or none: Lazada LZD.

    ``path`` is the folder of ``full_trainset.csv`` (observational) and ``full_testset.csv``
    (randomised), or one of the two; by default ``lzd_data_public`` in ``DFL_DATA``. The card
    describes the randomised file.

    Args:
        cost_per_voucher: price of a voucher, in purchases, >= 0; the data holds no cost.

    Raises:
        InvalidValueError: if ``cost_per_voucher`` is negative.
    """

    card: ClassVar[DataCard] = DataCard(
        name="lazada",
        title="Lazada LZD, vouchers in a web shop: full_testset.csv and full_trainset.csv",
        citation=(
            "Zhong et al. (2022), DESCN: Deep Entire Space Cross Networks for Individual "
            "Treatment Effect Estimation, KDD; arXiv:2207.09920"
        ),
        licence="2-clause BSD text in the archive's LICENSE",
        where="https://github.com/kailiang-zhong/DESCN, folder data/Lazada_dataset",
        files=("full_testset.csv",),
        rows=181_669,
        treatment="is_treat",
        arms=(
            Arm(name="no voucher", value=0, rows=86_987, means={"label": 2_893 / 86_987}),
            Arm(name="voucher", value=1, rows=94_682, means={"label": 3_503 / 94_682}),
        ),
        features=tuple(f"f{column}" for column in range(83)),
        outcomes=("label",),
        revenue="1 for a purchase (label), else 0",
        cost="a constant per voucher, to be set by the user",
        options={"cost_per_voucher": "price of a voucher, in purchases"},
        unverified=(
            "columns, sizes and rates are those of the owners' description; it does not say "
            "what a voucher costs"
        ),
    )
    observational_card: ClassVar[DataCard] = replace(
        card,
        files=("full_trainset.csv",),
        rows=926_669,
        arms=(
            Arm(name="no voucher", value=0, rows=721_189, means={"label": 6_810 / 721_189}),
            Arm(name="voucher", value=1, rows=205_480, means={"label": 11_638 / 205_480}),
        ),
    )

    cost_per_voucher: float = 0.1

    def __post_init__(self) -> None:
        """Check the option."""
        check_number("cost_per_voucher", self.cost_per_voucher, at_least=0)

    def load(self) -> LoadedData:
        """Read both files, check them, and give their columns their roles."""
        folder = Path("lzd_data_public" if self.path is None else self.path)
        folder = folder.parent if folder.suffix else folder
        encoder = FeatureEncoder.numeric(self.card.features)
        return LoadedData(
            data=self._part(self.card, folder, encoder, "rct"),
            obs=self._part(self.observational_card, folder, encoder, "obs"),
            encoder=encoder,
            card=self.card,
            recipe=self.recipe,
        )

    def _part(
        self, card: DataCard, folder: Path, encoder: FeatureEncoder, source: Source
    ) -> UpliftData:
        rows = self.read(find_file(folder, card.files, where=card.where), card=card)
        cost = rows.per_arm((0.0, self.cost_per_voucher))
        return rows.uplift(encoder, revenue=rows.amounts("label"), cost=cost, source=source)
