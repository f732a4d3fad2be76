"""Sets of training runs: comparisons, searches, and the published experiments.

An interrupted set continues where it stopped.
"""

from __future__ import annotations

from hf_speech.experiments.catalog import EXPERIMENTS
from hf_speech.experiments.compare import Comparison, compare
from hf_speech.experiments.page import render, write_page
from hf_speech.experiments.runner import choose_items, run_experiments
from hf_speech.experiments.runs import RunRecord, finish_run, read_run
from hf_speech.experiments.search import SearchResult, search
from hf_speech.experiments.suite import Experiment, ExperimentFolders
from hf_speech.experiments.variants import Variant, parse_axis, parse_range, variants_of

__all__ = [
    "EXPERIMENTS",
    "Comparison",
    "Experiment",
    "ExperimentFolders",
    "RunRecord",
    "SearchResult",
    "Variant",
    "choose_items",
    "compare",
    "finish_run",
    "parse_axis",
    "parse_range",
    "read_run",
    "render",
    "run_experiments",
    "search",
    "variants_of",
    "write_page",
]
