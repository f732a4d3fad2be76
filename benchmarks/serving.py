"""Measures latency and memory of `hf-speech serve` under load.

Concurrent clients send a file to a server with one process, and send it again after each response, while live streams
send pieces of 160 ms in real time. Prints the response times for files and live pieces (median and 95th percentile),
the number of rejected requests, and the memory of the server after a tenth of the time and at the end.

    python benchmarks/serving.py [--model DIR] [--clients 50] [--streams 10] [--seconds 60]
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import numpy as np
import soundfile
from websockets.sync.client import connect

REPOSITORY = Path(__file__).resolve().parent.parent
CLIP = REPOSITORY / "spaces" / "transcribe" / "examples" / "enter four five eight two one.flac"
PIECE = 0.16


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default=str(REPOSITORY / "pretrained" / "an4-streaming"), help="A causal model.")
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--streams", type=int, default=10)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--port", type=int, default=8765)
    options = parser.parse_args()
    command = [sys.executable, "-m", "hf_speech.cli", "serve", options.model, "--port", str(options.port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as server:
        try:
            wait_until_ready(options.port)
            measure(server.pid, options)
        finally:
            server.terminate()


def measure(pid: int, options: argparse.Namespace) -> None:
    """Sends requests from many threads and prints the results."""
    files: list[float] = []
    pieces: list[float] = []
    refused: list[int] = []
    end = time.monotonic() + options.seconds
    clients = [threading.Thread(target=ask, args=(options.port, end, files, refused)) for _ in range(options.clients)]
    clients += [threading.Thread(target=speak, args=(options.port, end, pieces)) for _ in range(options.streams)]
    for client in clients:
        client.start()
    time.sleep(options.seconds / 10)
    early = resident_megabytes(pid)
    for client in clients:
        client.join()
    print(f"{options.clients} clients and {options.streams} live streams for {options.seconds:.0f} s, one process")
    print(f"files transcribed: {len(files):,}, requests rejected: {len(refused):,}")
    for name, waits in (("files", files), ("live pieces", pieces)):
        if waits:
            p95 = statistics.quantiles(waits, n=20)[-1]
            print(f"{name}: median {1000 * statistics.median(waits):.0f} ms, 95th percentile {1000 * p95:.0f} ms")
    print(f"memory: {early:.0f} MB after {options.seconds / 10:.0f} s, {resident_megabytes(pid):.0f} MB at the end")


def ask(port: int, end: float, waits: list[float], refused: list[int]) -> None:
    """Sends a file repeatedly."""
    content = CLIP.read_bytes()
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.flac"\r\n\r\n'
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/audio/transcriptions",
        data=head + content + b"\r\n--x--\r\n",
        headers={"Content-Type": "multipart/form-data; boundary=x"},
    )
    while time.monotonic() < end:
        started = time.monotonic()
        try:
            with urllib.request.urlopen(request) as answer:
                assert json.load(answer)["text"]
            waits.append(time.monotonic() - started)
        except urllib.error.HTTPError as error:
            refused.append(error.code)
            time.sleep(1)


def speak(port: int, end: float, waits: list[float]) -> None:
    """Sends pieces in real time, and waits for the response to each."""
    samples, rate = soundfile.read(CLIP, dtype="int16")
    pieces = np.array_split(samples, round(len(samples) / rate / PIECE))
    while time.monotonic() < end:
        with connect(f"ws://127.0.0.1:{port}/v1/stream?rate={rate}") as socket:
            for piece in pieces:
                started = time.monotonic()
                socket.send(piece.tobytes())
                socket.recv()
                waits.append(time.monotonic() - started)
                time.sleep(max(0.0, started + PIECE - time.monotonic()))
            socket.send("end")
            assert json.loads(socket.recv())["final"]


def wait_until_ready(port: int) -> None:
    """Waits until the server responds."""
    for _ in range(600):
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/health").close()
            return
        except OSError:
            time.sleep(0.1)
    sys.exit("The server did not start.")


def resident_megabytes(pid: int) -> float:
    """Returns the memory of a process in MB, on Linux."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="utf-8").split()[1])
    return pages * 4096 / 1e6


if __name__ == "__main__":
    main()
