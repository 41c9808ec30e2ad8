"""Reading an experiment from sums over blocks of rows, where no more than those are needed."""

from dfl.abtest.streamed.moments import Moments
from dfl.abtest.streamed.read_blocks import STREAMED_ESTIMATORS, Block, read_blocks

__all__ = ["STREAMED_ESTIMATORS", "Block", "Moments", "read_blocks"]
