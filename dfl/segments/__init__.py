"""Segments: a few kinds of people, and what works on each."""

from dfl.segments.base import AbstractSegmenter
from dfl.segments.clusters import Clusters
from dfl.segments.hidden import HiddenSegments
from dfl.segments.model import SegmentModel
from dfl.segments.representation import Representation
from dfl.segments.scores import Scores
from dfl.segments.shrinkage import shrink
from dfl.segments.table import SegmentTable
from dfl.segments.tree import Tree
from dfl.segments.tree_growth import TreeScores, grow

__all__ = [
    "AbstractSegmenter",
    "Clusters",
    "HiddenSegments",
    "Representation",
    "Scores",
    "SegmentModel",
    "SegmentTable",
    "Tree",
    "TreeScores",
    "grow",
    "shrink",
]
