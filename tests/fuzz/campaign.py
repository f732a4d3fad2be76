"""Runs cases in a monitored process with limited memory, and reports the outcome of each.

A case is "used", "refused" with a declared one-sentence error, or a defect: another exception, memory or time beyond
the limit, a traceback on stderr, or the end of the process. A process that exits or hangs is replaced, and the run
continues with the next case.

Limits and measurements use Linux interfaces.
"""

from __future__ import annotations

import multiprocessing
import os
import resource
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from importlib import import_module
from multiprocessing.connection import Connection
from pathlib import Path
from random import Random
from typing import Any

MEMORY = 512 << 20
"""Bytes that a case may add to what the process has taken when everything is loaded."""

CPU_SECONDS, WALL_SECONDS = 5.0, 1800.0
"""What a case may take: of the processor, and altogether, lest one that waits for something wait forever.

The second says little on a machine that has more important things to do.
"""

WARM_UP = 20
"""Cases that are run beforehand."""

KINDS = {
    "audio": ("fuzz.audio:Audio", 10_000),
    "folders": ("fuzz.folders:Folders", 10_000),
    "names": ("fuzz.names:Names", 1000),
    "options": ("fuzz.options:Options", 1000),
    "requests": ("fuzz.requests:Requests", 2000),
    "tables": ("fuzz.tables:Tables", 5000),
}
"""The kinds: a class that is made with the folder of `make_models` and has `run` and `declared`; how many cases."""

USED, REFUSED, OUT_OF_MEMORY = "used", "refused", "is out of memory"


@dataclass(frozen=True)
class Result:
    """The outcome of a case.

    Attributes:
        case: Its number.
        outcome: "used", "refused", or the kind of defect.
        detail: The error's type and message, or its traceback.
        seconds: CPU time.
        bytes: Increase of the process's peak memory.
    """

    case: int
    outcome: str
    detail: str
    seconds: float = 0.0
    bytes: int = 0

    @property
    def is_defect(self) -> bool:
        """Whether the case found a defect."""
        return self.outcome not in (USED, REFUSED)


@dataclass
class Summary:
    """Statistics of many cases."""

    outcomes: Counter[str] = field(default_factory=Counter)
    errors: Counter[str] = field(default_factory=Counter)
    defects: list[Result] = field(default_factory=list)
    slowest: Result = Result(-1, USED, "")
    largest: Result = Result(-1, USED, "")

    def add(self, result: Result) -> None:
        """Counts a case."""
        self.outcomes[result.outcome] += 1
        if result.is_defect:
            self.defects.append(result)
        elif result.outcome == REFUSED:
            self.errors[result.detail.partition(":")[0]] += 1
        self.slowest = max(self.slowest, result, key=lambda one: one.seconds)
        self.largest = max(self.largest, result, key=lambda one: one.bytes)

    def __str__(self) -> str:
        counts = ", ".join(f"{count:,} {outcome}" for outcome, count in self.outcomes.most_common())
        return (
            f"{self.outcomes.total():,} cases: {counts} ({dict(self.errors)}); slowest {self.slowest.seconds:.2f} s "
            f"of the processor (case {self.slowest.case}), largest {self.largest.bytes / 2**20:.0f} MiB "
            f"(case {self.largest.case})"
        )


def run_cases(kind: str, first: int, count: int, folder: Path, wall_seconds: float = WALL_SECONDS) -> Iterator[Result]:
    """Runs cases in a separate process.

    Args:
        kind: One of `KINDS`, or a class in the same notation.
        first: Number of the first case.
        count: Number of cases.
        folder: A folder for output.
        wall_seconds: Time after which a case counts as hanging.
    """
    context = multiprocessing.get_context("spawn")
    while count > 0:
        connection, theirs = context.Pipe()
        process = context.Process(target=_work, args=(kind, first, count, folder, theirs), daemon=True)
        process.start()
        theirs.close()
        try:
            if error := connection.recv():
                raise RuntimeError(f"The process does not start: {error}")
            while count > 0:
                if not _answers(process, connection, wall_seconds):
                    yield Result(first, "hangs", "no answer in time")
                    break
                yield connection.recv()
                first, count = first + 1, count - 1
        except EOFError:
            process.join()
            yield Result(first, "ends the process", f"exit code {process.exitcode}")
        finally:
            if count > 0:
                process.kill()
            process.join()
        first, count = first + 1, count - 1


def _answers(process: Any, connection: Connection, wall_seconds: float) -> bool:
    """Waits for the next answer, or until the case has used too much time."""
    latest = time.monotonic() + wall_seconds
    most = _processor_seconds(process.pid) + 2 * CPU_SECONDS
    while not connection.poll(min(5.0, wall_seconds)):
        if time.monotonic() > latest or _processor_seconds(process.pid) > most:
            return False
    return True


def _processor_seconds(pid: int) -> float:
    """Returns the CPU time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _work(kind: str, first: int, count: int, folder: Path, connection: Connection) -> None:
    """Starts the process."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["OMP_NUM_THREADS"] = "1"
    try:
        cases = load_cases(kind, folder)
    except Exception:
        connection.send(traceback.format_exc())
        return
    connection.send(None)
    for result in run_here(kind, cases, first, count):
        connection.send(result)


def run_here(kind: str, cases: Any, first: int, count: int) -> Iterator[Result]:
    """Runs cases in this process with limited memory, and captures its error stream.

    Args:
        kind: The kind, which is part of the random seed.
        cases: The result of `load_cases`.
        first: Number of the first case.
        count: Number of cases.
    """
    screen = os.dup(2)
    limits = resource.getrlimit(resource.RLIMIT_AS)
    with tempfile.TemporaryFile() as errors:
        os.dup2(errors.fileno(), 2)
        resource.setrlimit(resource.RLIMIT_AS, (_address_space() + MEMORY, limits[1]))
        try:
            for case in range(first, first + count):
                errors.seek(0)
                errors.truncate()
                before = _peak_memory(reset=True)
                started = time.process_time()
                outcome, detail = _outcome(cases, Random(f"{kind} {case}"))
                seconds = time.process_time() - started
                errors.seek(0)
                noise = errors.read().decode(errors="replace")
                if "Traceback" in noise and outcome in (USED, REFUSED):
                    outcome, detail = "prints a traceback", noise[-3000:]
                elif seconds > CPU_SECONDS:
                    outcome, detail = "is slow", f"{outcome} {detail}"
                yield Result(case, outcome, detail, seconds, _peak_memory() - before)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, limits)
            os.dup2(screen, 2)
            os.close(screen)


def load_cases(kind: str, folder: Path) -> Any:
    """Returns the cases of a kind. Some are run, so that whatever is loaded late is loaded before memory is limited."""
    import torch
    from transformers.utils import logging

    from fuzz.folders import make_models

    torch.set_num_threads(1)
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    warnings.simplefilter("ignore")
    make_models(folder)
    module, _, name = KINDS[kind][0].partition(":") if kind in KINDS else kind.partition(":")
    cases = getattr(import_module(module), name)(folder)
    for number in range(WARM_UP):
        _outcome(cases, Random(f"warm up {number}"))
    return cases


def _outcome(cases: Any, rng: Random) -> tuple[str, str]:
    try:
        cases.run(rng)
    except cases.declared as error:
        text = str(error)
        detail = f"{type(error).__name__}: {text}"
        # A MemoryError was mistaken for a damaged file.
        if "allocate" in text or isinstance(error.__cause__, MemoryError):
            return OUT_OF_MEMORY, detail
        return (REFUSED if "\n" not in text and text.endswith((".", "?")) else "is refused without a sentence"), detail
    except Exception as error:
        what = OUT_OF_MEMORY if isinstance(error, MemoryError) else type(error).__name__
        return what, traceback.format_exc()[-3000:]
    return USED, ""


def _address_space() -> int:
    return int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0]) * resource.getpagesize()


def _peak_memory(reset: bool = False) -> int:
    """Returns the peak resident memory of the process in bytes, or the current one after a reset."""
    if reset:
        Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")
    status = Path("/proc/self/status").read_text(encoding="utf-8")
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) << 10
