"""Checks how a streamed corpus is split among 64 processes, with the real reader on synthetic shards.

Each process is a fork that reads its part once and reports which utterances it got, the CPU seconds to the first one,
and its memory. The shards are Parquet files of short clips. Their number is first a multiple of the number of
processes; then it is not, so that each process reads all files and skips the utterances of the others.

    python benchmarks/ranks.py [--processes 64] [--rows 8]
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import resource
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import soundfile
from datasets import load_dataset

from hf_speech.data.corpora.hub_stream import HubStream
from hf_speech.data.stream import Admission, SpeechStream

RATE = 16_000


def write_shards(folder: Path, shards: int, rows: int) -> None:
    """Writes Parquet files of clips whose transcripts are their numbers."""
    file = io.BytesIO()
    soundfile.write(file, 0.1 * np.random.default_rng(0).standard_normal(RATE // 2), RATE, format="FLAC")
    for shard in range(shards):
        said = [str(shard * rows + row) for row in range(rows)]
        table = pyarrow.table({"recording": [file.getvalue()] * rows, "said": said})
        pyarrow.parquet.write_table(table, folder / f"{shard:05d}.parquet")


def read_part(task: tuple[str, int, int]) -> tuple[list[int], float, float]:
    """Returns the numbers of the utterances of a process, CPU seconds to the first one, and memory used in MB."""
    folder, process, processes = task
    start, before = time.process_time(), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    files = sorted(map(str, Path(folder).glob("*.parquet")))
    rows = load_dataset("parquet", data_files=files, split="train", streaming=True, cache_dir=folder)
    admission = Admission(lambda corpus: (0.1, 20.0), "refuse", lambda row, seconds: None)
    stream = SpeechStream(
        HubStream(rows, "recording", "said"),
        RATE,
        lambda row: int(row["text"]),
        admission,
        batch_size=8,
        process=(process, processes),
        num_passes=1,
    )
    numbers, first = [], 0.0
    for utterance in stream:
        first = first or time.process_time() - start
        numbers.append(utterance["target"])
    return numbers, first, (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--processes", type=int, default=64)
    parser.add_argument("--rows", type=int, default=8, help="Utterances per shard.")
    options = parser.parse_args()
    print(f"{options.processes} processes, one after another; shards of {options.rows} clips of half a second.\n")
    print("| shards | utterances | per process | read twice | missing ", end="")
    print("| CPU seconds to the first, median | maximum | MB, maximum |")
    print("|--:|--:|--:|--:|--:|--:|--:|--:|")
    # Each part is read in a new process forked from this one, so that imports are not counted.
    forks = multiprocessing.get_context("fork")
    for shards in (2 * options.processes, 2 * options.processes - 1):
        with tempfile.TemporaryDirectory() as folder, forks.Pool(1, maxtasksperchild=1) as pool:
            write_shards(Path(folder), shards, options.rows)
            tasks = [(folder, process, options.processes) for process in range(options.processes)]
            numbers, firsts, megabytes = zip(*pool.imap(read_part, tasks), strict=True)
        sizes, read = [len(each) for each in numbers], [number for each in numbers for number in each]
        total = shards * options.rows
        print(
            f"| {shards} | {total:,} | {min(sizes)} to {max(sizes)} | {len(read) - len(set(read))} "
            f"| {total - len(set(read))} | {statistics.median(firsts):.2f} | {max(firsts):.2f} "
            f"| {max(megabytes):.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
