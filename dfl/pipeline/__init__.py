"""From a configuration to a run folder, a comparison, or an allocation of customers."""

from dfl.pipeline.allocating import CustomerAllocation, allocate_file
from dfl.pipeline.allocating_blocks import allocate_columns, allocate_dataset
from dfl.pipeline.assigning import Assignment, assign_file
from dfl.pipeline.comparing import compare, comparison_report_of, resume_comparison
from dfl.pipeline.folder import RunFolder
from dfl.pipeline.helpers import help_training
from dfl.pipeline.limits import Limit, Used
from dfl.pipeline.lock import locked
from dfl.pipeline.plan_table import Asked
from dfl.pipeline.planning import Planned, PlanRow, plan_file
from dfl.pipeline.run import report_of, resume, run
from dfl.pipeline.segmenting import describe_segments
from dfl.pipeline.suite import resume_suite, run_suite
from dfl.pipeline.suite_report import holds_suite, suite_report_of, write_suite_report
from dfl.pipeline.suite_results import SuiteResults
from dfl.pipeline.tracking import MLflow, TensorBoard, Tracked, make_tracker
from dfl.pipeline.watcher import Silent, Watcher
from dfl.pipeline.wishes import Plan, Wishes

__all__ = [
    "Asked",
    "Assignment",
    "CustomerAllocation",
    "Limit",
    "MLflow",
    "Plan",
    "PlanRow",
    "Planned",
    "RunFolder",
    "Silent",
    "SuiteResults",
    "TensorBoard",
    "Tracked",
    "Used",
    "Watcher",
    "Wishes",
    "allocate_columns",
    "allocate_dataset",
    "allocate_file",
    "assign_file",
    "compare",
    "comparison_report_of",
    "describe_segments",
    "help_training",
    "holds_suite",
    "locked",
    "make_tracker",
    "plan_file",
    "report_of",
    "resume",
    "resume_comparison",
    "resume_suite",
    "run",
    "run_suite",
    "suite_report_of",
    "write_suite_report",
]
