"""Command line of the fuzzing tests; see the package."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from fuzz.campaign import KINDS, Summary, run_cases


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("kinds", nargs="*", help=f"Of {', '.join(KINDS)}; all without.")
    parser.add_argument("--first", type=int, default=0, help="Number of the first case.")
    parser.add_argument("--cases", type=int, help="How many of each kind.")
    arguments = parser.parse_args()
    found = False
    for kind in arguments.kinds or KINDS:
        summary, started = Summary(), time.monotonic()
        with tempfile.TemporaryDirectory() as folder:
            for result in run_cases(kind, arguments.first, arguments.cases or KINDS[kind][1], Path(folder)):
                summary.add(result)
                if result.is_defect or arguments.cases == 1:
                    print(f"{kind} {result.case} {result.outcome}: {result.detail}\n", flush=True)
                if summary.outcomes.total() % 500 == 0:
                    print(f"{kind}: {summary}; {time.monotonic() - started:.0f} s", flush=True)
        print(f"{kind}: {summary}; {time.monotonic() - started:.0f} s", flush=True)
        found = found or bool(summary.defects)
    return int(found)


if __name__ == "__main__":
    sys.exit(main())
