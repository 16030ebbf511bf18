"""What happens beside training: files, pictures, progress and records of a stage."""

from r1lit.callbacks.base import RolloutCallback
from r1lit.callbacks.checkpoint import RolloutCheckpoint
from r1lit.callbacks.evolution import SelfEvolution
from r1lit.callbacks.export import HFExport
from r1lit.callbacks.hacking_guard import HackingGuard
from r1lit.callbacks.metrics_file import MetricsFile
from r1lit.callbacks.progress import RolloutProgress
from r1lit.callbacks.reference_sync import ReferenceSync
from r1lit.callbacks.samples import SamplesTable
from r1lit.callbacks.stage import StageRecord

__all__ = [
    "HFExport",
    "HackingGuard",
    "MetricsFile",
    "ReferenceSync",
    "RolloutCallback",
    "RolloutCheckpoint",
    "RolloutProgress",
    "SamplesTable",
    "SelfEvolution",
    "StageRecord",
]
