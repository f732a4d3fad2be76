"""Compares the speed of our recognizers with wav2vec2-base, whisper-tiny, moonshine-tiny and torchaudio's DeepSpeech.

All have random weights, which does not affect the speed, and run in turn, in one process on one thread. The timing
covers everything from the waveform to the output: features, encoder, and for sequence-to-sequence models the generation
of 4 tokens per second of audio, about the rate of speech. Prints median speeds as multiples of real time.

    python benchmarks/inference.py [--seconds 10 60] [--batches 1 8] [--rounds 3]
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import torch
import torchaudio
import transformers
from transformers import (
    MoonshineConfig,
    MoonshineForConditionalGeneration,
    Wav2Vec2Config,
    Wav2Vec2ForCTC,
    WhisperConfig,
    WhisperFeatureExtractor,
    WhisperForConditionalGeneration,
)

from hf_speech.models import ConvGRUConfig, ConvGRUForCTC, SpeechFeatureExtractor

RATE = 16_000
TOKENS_PER_SECOND = 4

Recognizer = Callable[[torch.Tensor], object]

PRESETS = {
    "hf_speech, subsampling 4, 3 x 256 BiGRU": {},
    "hf_speech, subsampling 8, 3 x 256 BiGRU": {"subsampling": 8},
    "hf_speech, stem, subsampling 4, 3 x 256 BiGRU": {"stem_channels": 32},
    "hf_speech, subsampling 4, 3 x 256 GRU, causal": {"bidirectional": False, "causal": True, "lookahead": 8},
    "hf_speech, residual, 3 blocks, 5 x 256 BiGRU": {
        "frontend": "residual",
        "channels": 32,
        "num_convolutions": 3,
        "num_hidden_layers": 5,
    },
    "hf_speech, deepspeech2, 5 x 512 BiGRU": {
        "frontend": "deepspeech2",
        "hidden_size": 512,
        "num_hidden_layers": 5,
        "recurrent_norm": "batch",
    },
}
FAST = "hf_speech, subsampling 8, 3 x 256 BiGRU"


def ours(**arguments: object) -> tuple[Recognizer, int]:
    model = ConvGRUForCTC(ConvGRUConfig(**arguments)).eval()
    extractor = SpeechFeatureExtractor()
    return lambda sound: model(**extractor(sound, sampling_rate=RATE)).logits.argmax(-1), model.num_parameters()


def wav2vec2() -> tuple[Recognizer, int]:
    model = Wav2Vec2ForCTC(Wav2Vec2Config(vocab_size=32)).eval()
    return lambda sound: model(sound).logits.argmax(-1), model.num_parameters()


def whisper() -> tuple[Recognizer, int]:
    config = WhisperConfig(
        d_model=384,
        encoder_layers=4,
        decoder_layers=4,
        encoder_attention_heads=6,
        decoder_attention_heads=6,
        encoder_ffn_dim=1536,
        decoder_ffn_dim=1536,
        vocab_size=51865,
    )
    model = WhisperForConditionalGeneration(config).eval()
    model.generation_config.eos_token_id = None
    extractor = WhisperFeatureExtractor()

    def recognize(sound: torch.Tensor) -> object:
        # Whisper processes windows of 30 s, padded if necessary.
        results = []
        for window in sound.split(30 * RATE, dim=1):
            features = extractor(list(window.numpy()), sampling_rate=RATE, return_tensors="pt").input_features
            encoded = model.model.encoder(features)
            tokens = TOKENS_PER_SECOND * window.shape[1] // RATE
            results.append(greedy(model, {"encoder_outputs": encoded}, len(sound), tokens))
        return results

    return recognize, model.num_parameters()


def moonshine() -> tuple[Recognizer, int]:
    model = MoonshineForConditionalGeneration(MoonshineConfig()).eval()

    def recognize(sound: torch.Tensor) -> object:
        encoded = model.model.encoder(sound)
        return greedy(model, {"encoder_outputs": encoded}, len(sound), TOKENS_PER_SECOND * sound.shape[1] // RATE)

    return recognize, model.num_parameters()


def greedy(model: torch.nn.Module, encoded: dict[str, object], batch: int, tokens: int) -> torch.Tensor:
    """Generates exactly `tokens` tokens with the cache, unlike `generate`, which may stop early."""
    ids, cache = torch.ones(batch, 1, dtype=torch.long), None
    for _ in range(tokens):
        output = model(**encoded, decoder_input_ids=ids, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        ids = output.logits[:, -1:].argmax(-1)
    return ids


def deepspeech() -> tuple[Recognizer, int]:
    model = torchaudio.models.DeepSpeech(n_feature=80).eval()
    extractor = SpeechFeatureExtractor()

    def recognize(sound: torch.Tensor) -> object:
        return model(extractor(sound, sampling_rate=RATE)["input_features"][:, None]).argmax(-1)

    return recognize, sum(parameter.numel() for parameter in model.parameters())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, nargs="+", default=[10, 60])
    parser.add_argument("--batches", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    candidates = {name: ours(**arguments) for name, arguments in PRESETS.items()}
    candidates |= {
        "wav2vec2-base": wav2vec2(),
        "whisper-tiny": whisper(),
        "moonshine-tiny": moonshine(),
        "torchaudio DeepSpeech": deepspeech(),
    }
    columns = [(seconds, batch) for seconds in options.seconds for batch in options.batches]
    speeds: dict[str, list[float]] = {name: [] for name in candidates}
    with torch.inference_mode():
        for recognize, _ in candidates.values():  # Warm up.
            recognize(0.1 * torch.randn(1, 2 * RATE))
        for seconds, batch in columns:
            sound = 0.1 * torch.randn(batch, seconds * RATE)
            times: dict[str, list[float]] = {name: [] for name in candidates}
            for _ in range(options.rounds):
                for name, (recognize, _) in candidates.items():
                    start = time.perf_counter()
                    recognize(sound)
                    times[name].append(time.perf_counter() - start)
            for name in candidates:
                speeds[name].append(batch * seconds / statistics.median(times[name]))
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, {platform.machine()}, ", end="")
    print(f"{options.threads} thread(s), medians of {options.rounds} rounds, times real time\n")
    heads = [f"{seconds} s, batch {batch}" for seconds, batch in columns]
    print(f"| recognizer | parameters | {' | '.join(heads)} |\n|---|--:|{'--:|' * len(heads)}")
    for name, (_, size) in candidates.items():
        print(f"| {name} | {size / 1e6:.1f} M | {' | '.join(f'{speed:.1f}' for speed in speeds[name])} |")
    for peer in ("wav2vec2-base", "moonshine-tiny"):
        ratios = [fast / slow for fast, slow in zip(speeds[FAST], speeds[peer], strict=True)]
        print(f"\nSpeed of {FAST} relative to {peer}: " + ", ".join(f"{ratio:.1f}" for ratio in ratios))


if __name__ == "__main__":
    main()
