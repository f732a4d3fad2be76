"""The processes that train one model together: how they find each other, agree, and fail together.

Whatever one process alone decides (which checkpoint is whole, whether the run folder is free) is decided by the first
one and sent to the others, so that an error is raised in all of them and none waits for a process that has gone.
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
from hf_speech.data.reports import InspectionReport, SplitReport
from hf_speech.errors import CorpusError, HFSpeechError

# How long processes wait for each other. The first process may decode a corpus, fill a cache or evaluate for hours
# while the others wait; the libraries' own limit is 10 to 30 minutes.
PROCESS_TIMEOUT = timedelta(days=2)
T = TypeVar("T")


def process_state() -> PartialState:
    """This process among those that were launched together; without accelerators they communicate through gloo."""
    # Without `cpu`, accelerate makes processes without accelerators train independently of each other.
    return PartialState(cpu=not torch.accelerator.is_available(), timeout=PROCESS_TIMEOUT)


def on_main_process(state: PartialState, function: Callable[[], T]) -> T:
    """Calls a function in the first process and gives its result to all of them.

    Raises:
        HFSpeechError: In every process, what the function raised in the first one.
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
    """Whether a flag is set in any process; all of them must ask."""
    if state.num_processes == 1:
        return flag
    return bool(reduce(torch.tensor(float(flag), device=state.device), "sum").item())


def check_same_corpus(state: PartialState, corpus: DatasetDict, report: InspectionReport) -> None:
    """Makes sure that all processes have the same utterances and targets, each host having read its own disk.

    Args:
        state: This process among others.
        corpus: The inspected splits, whose rows are the good ones.
        report: What the inspection found, with a digest of the samples of each row.

    Raises:
        CorpusError: In every process, if one has other rows, sounds, classes or texts than the first one.
    """
    if state.num_processes == 1:
        return
    mine = {split: _split_digest(rows, report.splits[split]) for split, rows in corpus.items() if len(rows)}
    of_all = gather_object([mine])
    for process, other in enumerate(of_all):
        for split in sorted(of_all[0].keys() | other.keys()):
            if of_all[0].get(split) != other.get(split):
                raise CorpusError(
                    f"Process {process} has another split {split} of the corpus {report.corpus!r} than process 0 "
                    f"({_summary(other.get(split))} there, {_summary(of_all[0].get(split))} here): copy the same "
                    "corpus to every host."
                )


def _split_digest(rows: Dataset, found: SplitReport) -> dict[str, Any]:
    """The number of utterances of a split, and a digest of all sounds, targets, speakers and classes."""
    columns = rows.remove_columns("audio")
    sounds = [(found.digests[index] or b"").hex() for index in found.good_indices]
    return {"utterances": len(rows), "digest": digest_data(str(columns.features), columns.to_dict(), sounds)}


def _summary(split: dict[str, Any] | None) -> str:
    return "none" if split is None else f"{split['utterances']:,} utterances, digest {split['digest'][:8]}"
