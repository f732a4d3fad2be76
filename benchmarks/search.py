"""Compares the speed of our beam search with that of flashlight (flashlight-text and torchaudio), if installed.

Both decode log probabilities of the AN4 test utterances with pretrained/an4 and its language model, in turn, on one
thread. The startup time is measured with a language model of a million 3-grams of random words.

    python benchmarks/search.py --data_dir CORPORA/an4 [--rounds 5]
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import jiwer
import numpy as np
import torch

from hf_speech.data import make_corpus
from hf_speech.decoding import BeamSearchDecoder, build_arpa
from hf_speech.inference import load_model, predict
from hf_speech.inference.decoders import joint_log_probs

MODEL = Path(__file__).resolve().parent.parent / "pretrained" / "an4"
LANGUAGE_MODEL = MODEL / "language_model.arpa"
START = """import sys, time
import numpy as np
from hf_speech.decoding import BeamSearchDecoder
from hf_speech.inference import load_model
load_model(sys.argv[2])
start = time.process_time()
decoder = BeamSearchDecoder(["<pad>", "|", *"0123456789"], language_model=sys.argv[1])
decoder.candidates(np.log(np.full((9, 12), 1 / 12)))
print(time.process_time() - start)"""


def ours(tokens: list[str], beam_size: int, weights: dict[str, float]) -> Callable[[np.ndarray], str]:
    decoder = BeamSearchDecoder(tokens, language_model=LANGUAGE_MODEL, beam_size=beam_size, **weights)
    return lambda log_probs: decoder.decode(log_probs, seconds_per_frame=0.04)[0].text


def flashlight(tokens: list[str], beam_size: int, weights: dict[str, float]) -> Callable[[np.ndarray], str]:
    """Returns the same search by flashlight, where each word ends in a delimiter."""
    from torchaudio.models.decoder import ctc_decoder

    words = BeamSearchDecoder(tokens, language_model=LANGUAGE_MODEL).lexicon or ()
    with tempfile.TemporaryDirectory() as folder:
        lexicon = Path(folder, "lexicon.txt")
        lexicon.write_text("".join(f"{word}\t{' '.join(word)} |\n" for word in words), encoding="utf-8")
        decoder = ctc_decoder(
            str(lexicon),
            tokens,
            lm=str(LANGUAGE_MODEL),
            beam_size=beam_size,
            lm_weight=weights["lm_weight"] * math.log(10),  # KenLM uses base-10 logarithms.
            word_score=weights["word_score"],
            log_add=True,
            blank_token=tokens[0],
            sil_token="|",
            unk_word="<unk>",
        )
    end = np.full((1, len(tokens)), -100.0, dtype=np.float32)
    end[0, tokens.index("|")] = 0.0

    def decode(log_probs: np.ndarray) -> str:
        return " ".join(decoder(torch.from_numpy(np.concatenate([log_probs, end]))[None])[0][0].words)

    return decode


def start_seconds(folder: Path) -> list[float]:
    """Returns the seconds from making a decoder to the first text, each in a new process with the model loaded."""
    words = np.random.default_rng(0).integers(0, 10_000, (70_000, 15))
    path = build_arpa((" ".join(map(str, line)) for line in words.tolist()), 3, folder / "large.ngram").path
    command = [sys.executable, "-c", START, str(path), str(MODEL)]
    return [float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(6)][1:]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    model = load_model(MODEL, device="cpu")
    rows = make_corpus("an4", data_dir=options.data_dir).load()["test"]
    tuned = json.loads(LANGUAGE_MODEL.with_suffix(".decoder.json").read_text(encoding="utf-8"))
    weights = {name: tuned[name] for name in ("lm_weight", "word_score")}
    outputs = [joint_log_probs(each)[:, : len(model.tokens)] for each in predict(model, rows["audio"], progress=False)]
    frames = sum(map(len, outputs))
    print("| beam | search | microseconds per frame | speed relative to flashlight | WER |\n|--:|---|--:|--:|--:|")
    for beam_size in (50, 100):
        searches = {"hf_speech": ours(model.tokens, beam_size, weights)}
        try:
            searches["flashlight"] = flashlight(model.tokens, beam_size, weights)
        except (ImportError, OSError, RuntimeError) as error:
            print(f"flashlight is not available: {error}", file=sys.stderr)
        times: dict[str, list[float]] = {name: [] for name in searches}
        texts: dict[str, list[str]] = {}
        for _ in range(options.rounds + 1):
            for name, search in searches.items():
                start = time.process_time()
                texts[name] = [search(log_probs) for log_probs in outputs]
                times[name].append((time.process_time() - start) / frames)
        medians = {name: statistics.median(seconds[1:]) for name, seconds in times.items()}
        for name, seconds in medians.items():
            ratio = f"{medians['flashlight'] / seconds:.2f}" if "flashlight" in medians else ""
            errors = jiwer.wer([model.normalize(text) for text in rows["text"]], texts[name])
            print(f"| {beam_size} | {name} | {1e6 * seconds:.0f} | {ratio} | {errors:.2%} |")
    with tempfile.TemporaryDirectory() as folder:
        seconds = statistics.median(start_seconds(Path(folder)))
    print(f"\nFrom making the decoder to the first text, with a language model of a million 3-grams: {seconds:.2f} s.")


if __name__ == "__main__":
    main()
