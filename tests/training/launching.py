"""How tests start several processes that train together."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ACCELERATE = Path(__file__).resolve().parents[2] / "recipes" / "accelerate"
LAUNCHER = [sys.executable, "-m", "accelerate.commands.launch"]


def launch_two(script: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs a script in two processes on this machine, and waits for both."""
    options = ["--config_file", str(ACCELERATE / "cpu.yaml"), "--main_process_port", "0"]
    command = [*LAUNCHER, *options, str(script), *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False)
