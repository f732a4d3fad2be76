"""`accelerate launch` for preemptible machines: exits with status 75 after a preemption.

    python -m hf_speech.training.launch --config_file recipes/accelerate/cpu.yaml scripts/train.py RECIPE

It takes the options of `accelerate launch`, which always exits with status 1 on failure and does not forward SIGUSR1 to
its processes.
"""

from __future__ import annotations

import os
import signal
import sys
from typing import Any

from hf_speech.errors import PreemptedError


def main() -> None:
    """Launches the processes and waits for their end."""
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing.api import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    arguments = launch_command_parser().parse_args()
    if hasattr(signal, "SIGUSR1"):
        signal.signal(signal.SIGUSR1, _terminate)
    try:
        launch_command(arguments)
    except SignalException:
        sys.exit(PreemptedError.exit_status)
    except ChildFailedError as error:
        statuses = {failure.exitcode for failure in error.failures.values()}
        sys.exit(PreemptedError.exit_status if PreemptedError.exit_status in statuses else 1)


def _terminate(number: int, frame: Any) -> None:
    """Sends SIGTERM, which PyTorch's launcher forwards before it waits 30 seconds for the processes to end."""
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
