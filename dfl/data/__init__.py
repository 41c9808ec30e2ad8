"""Marketing logs as tensors: published data sets, one's own tables, simulators, splits."""

from dfl.data.card import Arm, DataCard
from dfl.data.catalogue import DATASETS, load, open_source, recognise
from dfl.data.columns import Columns
from dfl.data.coupon import CouponSimulator
from dfl.data.criteo import Criteo
from dfl.data.criteo_like import CriteoLikeSimulator
from dfl.data.encoder import FeatureColumn, FeatureEncoder
from dfl.data.gotv import SocialPressure
from dfl.data.hillstrom import Hillstrom
from dfl.data.hybrid import HybridRecipe, Policy, pair_hybrid, roi, roi_lift, to_hybrid
from dfl.data.lazada import Lazada
from dfl.data.loaded import LoadedData
from dfl.data.mt_lift import MTLift
from dfl.data.old_policy import RidgePolicy
from dfl.data.penn_bonus import PennBonus
from dfl.data.published import AbstractPublished
from dfl.data.simulator import AbstractSimulator, PartSizes
from dfl.data.source import AbstractDataSource, HybridData
from dfl.data.split import split, split_rows
from dfl.data.starbucks import Starbucks
from dfl.data.table import AbstractTable
from dfl.data.uplift_data import PotentialOutcomes, Source, UpliftData

__all__ = [
    "DATASETS",
    "AbstractDataSource",
    "AbstractPublished",
    "AbstractSimulator",
    "AbstractTable",
    "Arm",
    "Columns",
    "CouponSimulator",
    "Criteo",
    "CriteoLikeSimulator",
    "DataCard",
    "FeatureColumn",
    "FeatureEncoder",
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
    "RidgePolicy",
    "SocialPressure",
    "Source",
    "Starbucks",
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
