"""Coordinates the processes that train a model together.

The first process makes decisions for all (which checkpoint is intact, whether the run folder is free) and sends them to
the others. Errors are raised in all processes, so that none waits for a process that has ended.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

import torch
from accelerate import PartialState
from accelerate.utils import broadcast_object_list, gather_object, reduce
from datasets import Dataset, DatasetDict

from hf_speech.common.digests import digest_data
from hf_speech.common.text import counted
from hf_speech.data.reports import InspectionReport, SplitReport
from hf_speech.errors import CorpusError, HFSpeechError

# Time that processes wait for each other. The first process may read a corpus, fill a cache or evaluate for hours; the
# libraries' default is 10 to 30 minutes.
PROCESS_TIMEOUT = timedelta(days=2)
T = TypeVar("T")


def process_state() -> PartialState:
    """Returns the state of this process among those launched together; without accelerators, they use gloo."""
    # Without `cpu`, processes without accelerators would train independently of each other.
    return PartialState(cpu=not torch.accelerator.is_available(), timeout=PROCESS_TIMEOUT)


def on_main_process(state: PartialState, function: Callable[[], T]) -> T:
    """Calls a function in the first process and returns its result in all of them.

    Raises:
        HFSpeechError: In every process, if the function raised it in the first one.
    """
    if state.num_processes == 1:
        return function()
    outcome: list[Any] = [None]
    if state.is_main_process:
        try:
            outcome = [function()]
        except HFSpeechError as error:
            outcome = [error]
    broadcast_object_list(outcome, from_process=0)
    if isinstance(outcome[0], HFSpeechError):
        raise outcome[0]
    result: T = outcome[0]
    return result


def any_process(state: PartialState, flag: bool) -> bool:
    """Returns whether a flag is set in any process; all processes must call it."""
    if state.num_processes == 1:
        return flag
    return bool(reduce(torch.tensor(float(flag), device=state.device), "sum").item())


def check_same_corpus(state: PartialState, corpus: DatasetDict, report: InspectionReport) -> None:
    """Checks that all processes have the same utterances and targets, because each host reads its own disk.

    Args:
        state: The state of this process.
        corpus: The inspected splits, with the good rows.
        report: The report of the inspection, with a digest of the samples of each row.

    Raises:
        CorpusError: In every process, if one has other rows, sounds, classes or texts than the first one.
    """
    if state.num_processes == 1:
        return
    digests = {split: _split_digest(rows, report.splits[split]) for split, rows in corpus.items() if len(rows)}
    first, *others = gather_object([digests])
    for process, other in enumerate(others, start=1):
        for split in sorted(first.keys() | other.keys()):
            if first.get(split) != other.get(split):
                raise CorpusError(
                    f"Process {process} has another split {split} of the corpus {report.corpus!r} than process 0 "
                    f"({_summary(other.get(split))} instead of {_summary(first.get(split))}): copy the same corpus to "
                    "every host."
                )


def _split_digest(rows: Dataset, report: SplitReport) -> dict[str, Any]:
    """Returns the number of utterances of a split, and a digest of all sounds, targets, speakers and classes."""
    columns = rows.remove_columns("audio")
    sounds = [(report.digests[index] or b"").hex() for index in report.good_indices]
    return {"utterances": len(rows), "digest": digest_data(str(columns.features), columns.to_dict(), sounds)}


def _summary(split: dict[str, Any] | None) -> str:
    return "none" if split is None else f"{counted(split['utterances'], 'utterance')}, digest {split['digest'][:8]}"
