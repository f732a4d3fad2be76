"""Runs the speed benchmarks and writes their output into results.md.

The output of each benchmark replaces the section between its two comments. If a benchmark fails, its section is not
changed, and the exit status is 1.

    python benchmarks/report.py [NAME ...]        # all by default; names: features, recurrence, training, ...
"""

from __future__ import annotations

import argparse
import datetime
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from hf_speech.evaluation.provenance import processor_name

HERE = Path(__file__).resolve().parent
RESULTS = HERE / "results.md"
# The number of rounds gives stable medians; all benchmarks together take 20 minutes on two cores.
BENCHMARKS = {
    "features": [],
    "recurrence": ["--rounds", "9"],
    "training": ["--rounds", "3"],
    "inference": ["--rounds", "2"],
    "exported": ["--rounds", "9"],
    "streams": [],
    "spaces": ["--rounds", "3"],
    "static_page": ["--rounds", "3"],
    "ranks": [],
}


def insert(page: str, name: str, text: str) -> str:
    """Returns the page with the section of that name replaced, or appended if there is none.

    Raises:
        ValueError: If the section begins but does not end.
    """
    begin, end = f"<!-- begin {name} -->", f"<!-- end {name} -->"
    section = f"{begin}\n{text.strip()}\n{end}"
    if begin not in page:
        return f"{page.rstrip()}\n\n{section}\n"
    if not re.search(f"{begin}.*?{end}", page, flags=re.DOTALL):
        raise ValueError(f"The section {name} of the page begins but does not end: add {end!r} after it.")
    return re.sub(f"{begin}.*?{end}", lambda _: section, page, flags=re.DOTALL)


def run(name: str) -> str | None:
    """Runs a benchmark and returns its output, or None if it failed."""
    command = [sys.executable, str(HERE / f"{name}.py"), *BENCHMARKS[name]]
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, env=environment, check=False)
    return finished.stdout if finished.returncode == 0 else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"Benchmarks to run: {', '.join(BENCHMARKS)}.")
    names = parser.parse_args().names or list(BENCHMARKS)
    unknown = sorted(set(names) - set(BENCHMARKS))
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}: choose from {', '.join(BENCHMARKS)}")
    failed = []
    for index, name in enumerate(names):
        print(f"[{index + 1} of {len(names)}] {name}", file=sys.stderr, flush=True)
        start, load = time.monotonic(), os.getloadavg()[0]
        printed = run(name)
        if printed is None:
            failed.append(name)
            continue
        print(printed, flush=True)
        command = " ".join(["python", f"benchmarks/{name}.py", *BENCHMARKS[name]])
        when = f"{datetime.date.today()}, in {(time.monotonic() - start) / 60:.1f} minutes"
        machine = f"{processor_name()}, {os.cpu_count()} logical CPUs"
        origin = f"`{command}`, {when}, on {machine}, load average before the run {load:.1f}:"
        page = insert(RESULTS.read_text(encoding="utf-8"), name, f"{origin}\n\n{printed}")
        RESULTS.write_text(page, encoding="utf-8")
    if failed:
        sys.exit(f"Failed; their sections of {RESULTS.name} were not changed: {', '.join(failed)}.")


if __name__ == "__main__":
    main()
