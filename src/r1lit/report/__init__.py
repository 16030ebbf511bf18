"""What runs came to, side by side."""

from r1lit.report.stages import stage_table

__all__ = ["stage_table"]
