"""Reading an experiment from blocks of rows: by sums, or in parts from temporary files."""

from dfl.abtest.streamed.kept import Block
from dfl.abtest.streamed.numbering import Numbering
from dfl.abtest.streamed.read_blocks import read_blocks
from dfl.stats.moments import Moments

__all__ = ["Block", "Moments", "Numbering", "read_blocks"]
