"""Marketing logs as tensors: published data sets, one's own tables, simulators, splits."""

from dfl.data.encoder import Encoding, FeatureEncoder
from dfl.data.encoding.base import DataWarning
from dfl.data.hybrid import (
    Held,
    HybridData,
    HybridRecipe,
    Policy,
    pair_hybrid,
    roi,
    roi_lift,
    to_hybrid,
)
from dfl.data.simulators.bias import Bias
from dfl.data.simulators.coupon import CouponSimulator
from dfl.data.simulators.criteo_like import CriteoLikeSimulator
from dfl.data.simulators.experiment import SimulatedExperiment
from dfl.data.simulators.old_policy import RidgePolicy
from dfl.data.simulators.simulator import AbstractSimulator, PartSizes
from dfl.data.sources.card import Arm, DataCard
from dfl.data.sources.catalogue import DATASETS, load, open_source, recognise
from dfl.data.sources.columns import Columns
from dfl.data.sources.criteo import Criteo
from dfl.data.sources.gotv import SocialPressure
from dfl.data.sources.hillstrom import Hillstrom
from dfl.data.sources.lazada import Lazada
from dfl.data.sources.mt_lift import MTLift
from dfl.data.sources.packaged import AbstractPackaged
from dfl.data.sources.penn_bonus import PennBonus
from dfl.data.sources.published import AbstractPublished
from dfl.data.sources.rand_hie import RandHie
from dfl.data.sources.source import AbstractDataSource, AbstractTable, LoadedData
from dfl.data.sources.starbucks import Starbucks
from dfl.data.sources.thornton_hiv import ThorntonHiv
from dfl.data.split import split, split_rows
from dfl.data.uplift_data import PotentialOutcomes, Source, UpliftData

__all__ = [
    "DATASETS",
    "AbstractDataSource",
    "AbstractPackaged",
    "AbstractPublished",
    "AbstractSimulator",
    "AbstractTable",
    "Arm",
    "Bias",
    "Columns",
    "CouponSimulator",
    "Criteo",
    "CriteoLikeSimulator",
    "DataCard",
    "DataWarning",
    "Encoding",
    "FeatureEncoder",
    "Held",
    "Hillstrom",
    "HybridData",
    "HybridRecipe",
    "Lazada",
    "LoadedData",
    "MTLift",
    "PartSizes",
    "PennBonus",
    "Policy",
    "PotentialOutcomes",
    "RandHie",
    "RidgePolicy",
    "SimulatedExperiment",
    "SocialPressure",
    "Source",
    "Starbucks",
    "ThorntonHiv",
    "UpliftData",
    "load",
    "open_source",
    "pair_hybrid",
    "recognise",
    "roi",
    "roi_lift",
    "split",
    "split_rows",
    "to_hybrid",
]
