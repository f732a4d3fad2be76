"""Runs the loopback Hub until Ctrl-C: `PYTHONPATH=tests python -m hub_server FOLDER [--xet]`."""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from hub_server import WRITE_TOKEN, HubServer

if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m hub_server", description=__doc__)
    parser.add_argument("folder", type=Path, help="Where it keeps everything.")
    parser.add_argument("--xet", action="store_true", help="Whether it has Xet storage.")
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    with HubServer(arguments.folder.resolve(), xet=arguments.xet) as hub:
        settings = {
            "HF_ENDPOINT": hub.url,
            "HF_TOKEN": WRITE_TOKEN,
            "HF_HUB_DISABLE_XET": "0" if arguments.xet else "1",
        }
        print("Your name is ann. In another terminal:")
        for name, value in settings.items():
            print(f"export {name}={value}")
        print("hf-speech publish runs/digits --repo_id ann/digits", flush=True)
        try:
            while True:
                time.sleep(1)
        except KeyboardInterrupt:
            print()
