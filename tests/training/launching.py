"""Helpers that start distributed training."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
CONFIGURATION = ("--config_file", str(REPOSITORY / "recipes" / "accelerate" / "cpu.yaml"))


def launch_command(launcher_options: tuple[str, ...], script: Path, *words: str) -> list[str]:
    """Returns the command line of `accelerate launch` with its options, a script and the script's arguments."""
    return [sys.executable, "-m", "accelerate.commands.launch", *launcher_options, str(script), *words]


def launch_two(script: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Runs a script in two processes on this machine and waits for both."""
    command = launch_command((*CONFIGURATION, "--main_process_port", "0"), script, *words)  # 0: any port that is free
    return subprocess.run(command, capture_output=True, text=True, timeout=600, check=False, cwd=REPOSITORY)
