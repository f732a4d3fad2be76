from .evaluate import evaluate_model as evaluate_model
from .intervals import bootstrap_intervals as bootstrap_intervals
from .intervals import wilson_interval as wilson_interval
from .report import EvaluationReport as EvaluationReport
from .report import format_report as format_report
