"""Measures the memory for transcribing an hour of audio: from a file, with and without a language model, and live.

AN4's test recordings are repeated to fill 5 minutes and an hour, and each recording is transcribed in each way in a
separate process. Prints the memory before reading any audio, the peak memory, the speed, and the word error rate.

    python benchmarks/long_recordings.py --data_dir DIR [--minutes 5 60] [--model DIR] [--streaming_model DIR]

This process imports only the standard library, because a new process inherits the peak memory of its parent.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

PRETRAINED = Path(__file__).resolve().parent.parent / "pretrained"
WAYS = {
    "file": "`transcribe`, best path",
    "language_model": "`transcribe --language_model auto`",
    "streaming": "`StreamingTranscriber`",
}
RATE = 16_000
PIECE = RATE // 4  # samples per piece, a quarter of a second


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True, help="Folder of AN4.")
    parser.add_argument("--minutes", type=float, nargs="+", default=[5, 60])
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--model", default=str(PRETRAINED / "an4"))
    parser.add_argument("--streaming_model", default=str(PRETRAINED / "an4-streaming"), help="A causal model.")
    options = parser.parse_args()
    results: dict[tuple[str, float], dict[str, Any]] = {}
    with tempfile.TemporaryDirectory() as folder:
        for minutes in options.minutes:
            sound = str(Path(folder, f"{minutes:g}.wav"))
            run("build", options.data_dir, str(minutes), sound)
            for way in options.ways:
                model = options.streaming_model if way == "streaming" else options.model
                results[way, minutes] = run(way, model, sound)
                print(f"{WAYS[way]}, {minutes:g} minutes: {results[way, minutes]}", file=sys.stderr)
    print(
        f"torch {version('torch')}, transformers {version('transformers')}, numpy {version('numpy')}, "
        f"Python {platform.python_version()}, {processor()}, {os.environ['OMP_NUM_THREADS']} thread(s)\n"
    )
    columns = "".join(f" peak, {minutes:g} min (MB) |" for minutes in options.minutes)
    print(f"| | loaded (MB) |{columns} growth per hour (MB) | times real time | WER |")
    print("|---" * (len(options.minutes) + 5) + "|")
    for way in options.ways:
        rows = [results[way, minutes] for minutes in options.minutes]
        first, last = rows[0], rows[-1]
        hours = (last["seconds_of_sound"] - first["seconds_of_sound"]) / 3600
        growth = f"{(last['peak'] - first['peak']) / hours:.0f}" if hours else "-"
        peaks = "".join(f" {row['peak']:.0f} |" for row in rows)
        speed = last["seconds_of_sound"] / last["seconds"]
        print(f"| {WAYS[way]} | {first['loaded']:.0f} |{peaks} {growth} | {speed:.0f} | {last['wer']:.1%} |")


def run(*words: str) -> dict[str, Any]:
    """Runs one of the functions below in a separate process."""
    command = [sys.executable, __file__, "--in_this_process", *words]
    finished = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(finished.stdout.splitlines()[-1])
    return result


def processor() -> str:
    """Returns the name of the CPU on Linux."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def peak() -> float:
    """Returns the peak memory of this process in MB."""
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def build(data_dir: str, minutes: str, sound: str) -> dict[str, Any]:
    """Joins test utterances into a WAV file of that many minutes, and writes the transcript next to it."""
    import soundfile

    from hf_speech.data.audio import read_audio
    from hf_speech.data.corpora import make_corpus

    rows = make_corpus("an4", data_dir=data_dir).load()["test"]
    duration, texts, seconds = float(minutes) * 60, [], 0.0
    with soundfile.SoundFile(sound, "w", RATE, 1, "PCM_16") as output:
        while seconds < duration:
            for row in rows:
                samples = read_audio(row["audio"], RATE)
                output.write(samples)
                texts.append(row["text"])
                seconds += len(samples) / RATE
                if seconds >= duration:
                    break
    Path(sound).with_suffix(".json").write_text(json.dumps(texts))
    return {"seconds_of_sound": seconds}


def transcribe_file(model: str, sound: str, language_model: str | None = None) -> dict[str, Any]:
    """Transcribes from a file, like `hf-speech transcribe`."""
    from hf_speech.inference import choose_decoder, load_model, transcribe_files

    loaded = load_model(model, "cpu")
    decoder = choose_decoder(loaded, None if language_model is None else Path(language_model))
    warm_up = {"array": [0.0] * RATE, "sampling_rate": RATE}
    list(transcribe_files(loaded, [warm_up], decoder=decoder, progress=False))
    before, started = peak(), time.perf_counter()
    (transcript,) = transcribe_files(loaded, [sound], decoder=decoder, progress=False)
    return measured(
        before, time.perf_counter() - started, transcript.duration, transcript.hypothesis.text, sound, loaded
    )


def stream(model: str, sound: str) -> dict[str, Any]:
    """Transcribes live, a quarter of a second at a time."""
    import numpy as np
    import soundfile

    from hf_speech.inference import load_model

    loaded = load_model(model, "cpu")
    transcriber = loaded.model.stream(loaded.feature_extractor, loaded.tokenizer)
    transcriber.accept(np.zeros(RATE, dtype=np.float32))
    transcriber.reset()
    before, started = peak(), time.perf_counter()
    for piece in soundfile.blocks(sound, PIECE, dtype="float32"):
        transcriber.accept(piece, RATE)
    text = transcriber.finish().text
    seconds = time.perf_counter() - started
    return measured(before, seconds, soundfile.info(sound).duration, text, sound, loaded)


def measured(
    before: float, seconds: float, seconds_of_sound: float, text: str, sound: str, loaded: Any
) -> dict[str, Any]:
    """Returns the measurements of a transcription."""
    after = peak()  # Counting errors needs memory too.
    from hf_speech.tasks.metrics import count_errors
    from hf_speech.tasks.transcripts import normalize_for

    reference = [
        normalize_for(sentence, loaded.tokenizer)
        for sentence in json.loads(Path(sound).with_suffix(".json").read_text())
    ]
    substitutions, deletions, insertions, total = count_errors([" ".join(reference)], [text])[0][:4].tolist()
    return {
        "loaded": round(before, 1),
        "peak": round(after, 1),
        "seconds": round(seconds, 1),
        "seconds_of_sound": round(seconds_of_sound, 1),
        "words": total,
        "wer": (substitutions + deletions + insertions) / total,
    }


if __name__ == "__main__":
    if sys.argv[1:2] == ["--in_this_process"]:
        functions = {"build": build, "file": transcribe_file, "streaming": stream}
        functions["language_model"] = lambda model, sound: transcribe_file(model, sound, "auto")
        print(json.dumps(functions[sys.argv[2]](*sys.argv[3:])))
    else:
        main()
