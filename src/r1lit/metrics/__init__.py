"""What is reported of benchmarks, as torchmetrics classes: the same from any number of processes."""

from r1lit.metrics.accuracy import ConsAtK, PassAt1, PassAtK
from r1lit.metrics.base import PromptMetric
from r1lit.metrics.benchmark import BenchmarkMetrics, by_label
from r1lit.metrics.shares import MeanLength, SampleMean, TruncatedShare, UnparsableShare, UnscoredShare
from r1lit.metrics.votes import votes

__all__ = [
    "BenchmarkMetrics",
    "ConsAtK",
    "MeanLength",
    "PassAt1",
    "PassAtK",
    "PromptMetric",
    "SampleMean",
    "TruncatedShare",
    "UnparsableShare",
    "UnscoredShare",
    "by_label",
    "votes",
]
