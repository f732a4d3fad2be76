"""Keyword spotters as C source: compiles without warnings and equals PyTorch."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from hf_speech.cli import main
from hf_speech.data import read_audio
from hf_speech.errors import ModelError
from hf_speech.export.c_source import export_c
from hf_speech.inference import Detector, DetectorOptions, load_model
from hf_speech.inference.pytorch import LoadedModel
from hf_speech.models import ConvGRUConfig, ConvGRUForKeywordSpotting, SpeechFeatureExtractor

PRETRAINED = Path(__file__).resolve().parents[2] / "pretrained"
RATE = 8000
PROGRAM = """
#include <stdio.h>
#include <stdlib.h>
#include "spotter.h"
static void print(int count, const spotter_event *events) {
    for (int i = 0; i < count; i++)
        printf("event %s %.6f %.6f\\n", spotter_names[events[i].keyword], events[i].time, events[i].score);
}
int main(int count, char **words) {
    static float samples[1 << 16];
    static spotter_event events[SPOTTER_MAX_EVENTS(1 << 16)];
    const size_t piece = (size_t)atoi(words[count - 1]);
    for (int file = 1; file < count - 1; file++) {
        FILE *stream = fopen(words[file], "rb");
        unsigned long frames = 0;
        size_t read;
        printf("file\\n");
        spotter_reset();
        for (;;) {
            read = fread(samples, sizeof(float), piece, stream);
            print(read ? spotter_accept(samples, read, events) : spotter_finish(events), events);
            if (piece == 1 && spotter_frames() > frames) {
                printf("logits");
                for (int i = 0; i < SPOTTER_CLASSES; i++) printf(" %.7g", spotter_logits()[i]);
                printf("\\n");
                frames = spotter_frames();
            }
            if (!read) break;
        }
        fclose(stream);
    }
    return 0;
}
"""
COMPILERS = [name for name in ("gcc", "clang") if shutil.which(name)]
needs_compiler = pytest.mark.skipif(not COMPILERS, reason="neither gcc nor clang is installed")
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "stem": ({"subsampling": 4, "stem_channels": 3, "num_hidden_layers": 2}, {"normalization": "global"}),
    "no stem": ({"subsampling": 2, "kernel_size": 3}, {"normalization": "global", "log": "db", "hop_length": 160}),
    "halved thrice": ({"subsampling": 8, "kernel_size": 2, "num_convolutions": 0}, {"power": 1, "preemphasis": 0.9}),
    "short window": ({"subsampling": 4, "num_convolutions": 3}, {"win_length": 80, "n_fft": 128}),
}


def spotter(folder: Path, model: dict[str, Any], features: dict[str, Any]) -> LoadedModel:
    """Returns a saved keyword spotter with random weights that are large enough for events."""
    torch.manual_seed(0)
    options: dict[str, Any] = {"sampling_rate": RATE, "num_mel_bins": 13, "hop_length": 80, "win_length": 200}
    extractor = SpeechFeatureExtractor(
        **{**options, "n_fft": 256, "log_floor": 1e-5, "normalization": "none", **features}
    )
    if extractor.normalization == "global":
        extractor.fit_global_statistics(list(sounds()))
    sizes: dict[str, Any] = {"channels": 12, "hidden_size": 10, "num_hidden_layers": 1, "kernel_size": 5}
    config = ConvGRUConfig(
        input_size=extractor.feature_size,
        hop_length=extractor.hop_length,
        bidirectional=False,
        causal=True,
        vocab_size=3,
        id2label={0: "other", 1: 'hey "you"??/', 2: "ΑΒΓ 1"},
        task="keyword-spotting",
        **{**sizes, **model},
    )
    network = ConvGRUForKeywordSpotting(config)
    for parameter in network.parameters():
        if parameter.ndim == 1:
            torch.nn.init.normal_(parameter, 0.5, 0.5)
    torch.nn.init.normal_(network.classifier.weight, std=2.0)
    network.save_pretrained(folder)
    extractor.save_pretrained(folder)
    return load_model(folder, device="cpu")


def sounds() -> list[np.ndarray]:
    """Noise and tones; the last one starts with silence and is shorter than a second."""
    rng = np.random.default_rng(0)
    clips = []
    for seconds in (2.003, 1.7, 0.61):
        time = np.arange(round(seconds * RATE)) / RATE
        tone = np.sin(2 * np.pi * (200 + 700 * time) * time) * (np.sin(2 * np.pi * 2.5 * time) > -0.5)
        clips.append((0.3 * tone + rng.normal(0, 0.02, len(time))).astype(np.float32))
    clips[-1][:1000] = 0
    return clips


def compiled(folder: Path, compiler: str) -> Path:
    """Returns the compiled program that processes files with the source in a folder."""
    (folder / "main.c").write_text(PROGRAM)
    words = [compiler, "-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-pedantic", "main.c", "spotter.c", "-lm"]
    subprocess.run([*words, "-o", compiler + ".out"], cwd=folder, check=True, timeout=60)
    return folder / (compiler + ".out")


def run(program: Path, clips: list[np.ndarray], piece: int) -> list[str]:
    """Returns the output of the program for each clip."""
    files = [f"{index}.f32" for index in range(len(clips))]
    for name, samples in zip(files, clips, strict=True):
        samples.tofile(program.parent / name)
    words = [str(program), *files, str(piece)]
    done = subprocess.run(words, cwd=program.parent, check=True, capture_output=True, timeout=60)
    return done.stdout.decode().split("file\n")[1:]


def logits_of(lines: list[str]) -> np.ndarray:
    return np.array([line.split()[1:] for line in lines if line.startswith("logits")], dtype=np.float32)


@needs_compiler
@pytest.mark.parametrize("variant", VARIANTS)
def test_logits_and_events_equal_those_of_pytorch(variant: str, tmp_path: Path) -> None:
    loaded = spotter(tmp_path / "model", *VARIANTS[variant])
    options = DetectorOptions({'hey "you"??/': 0.5, "ΑΒΓ 1": -1.0}, smoothing_frames=2, refractory_frames=4)
    options.save(tmp_path / "model")
    export_c(loaded, tmp_path)
    detector = Detector(loaded)
    seen = 0
    for compiler in COMPILERS:
        program = compiled(tmp_path, compiler)
        singly, together = run(program, sounds(), 1), run(program, sounds(), 1 << 16)
        for samples, printed, whole in zip(sounds(), singly, together, strict=True):
            lines = printed.splitlines()
            got = logits_of(lines)
            expected = loaded.run([samples])[0].logits
            assert got.shape == expected.shape
            np.testing.assert_allclose(got, expected, atol=1e-4)
            events = list(detector.listen([samples]))
            assert [line for line in lines if line.startswith("event")] == whole.splitlines()
            fields = [line.removeprefix("event ").rsplit(" ", 2) for line in whole.splitlines()]
            assert [(name, float(time)) for name, time, _ in fields] == [(e.keyword, e.time) for e in events]
            assert [float(score) for *_, score in fields] == pytest.approx([e.score for e in events], abs=1e-3)
            seen += len(events)
    assert seen > 2


@needs_compiler
@pytest.mark.corpora
@pytest.mark.slow
def test_pretrained_wake_words_in_speech(corpora_dir: Path, tmp_path: Path) -> None:
    loaded = load_model(PRETRAINED / "wake-words", device="cpu")
    export_c(loaded, tmp_path)
    recordings = sorted((corpora_dir / "an4").rglob("*.sph"))[:100]
    clips = [read_audio(path, loaded.sampling_rate) for path in recordings]
    assert len(clips) == 100
    for samples, printed in zip(clips, run(compiled(tmp_path, COMPILERS[0]), clips, 1), strict=True):
        np.testing.assert_allclose(logits_of(printed.splitlines()), loaded.run([samples])[0].logits, atol=1e-4)


def test_rejects_models_without_c_code(tmp_path: Path) -> None:
    loaded = spotter(tmp_path / "model", {}, {})
    for extractor_options, message in (
        ({"n_fft": 300}, "n_fft that is a power of two"),
        ({"feature_type": "mfcc"}, "log_mel"),
    ):
        for key, value in extractor_options.items():
            setattr(loaded.feature_extractor, key, value)
        with pytest.raises(ModelError, match=message):
            export_c(loaded, tmp_path / "c")
    loaded.feature_extractor.normalization = "utterance"
    with pytest.raises(ModelError, match="cannot listen"):
        export_c(loaded, tmp_path / "c")
    assert not (tmp_path / "c").exists()


def test_the_command_names_its_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    spotter(tmp_path / "model", {}, {})
    with contextlib.suppress(SystemExit):
        main(["export", str(tmp_path / "model"), "--format", "c", "--output", str(tmp_path / "c")])
    assert capsys.readouterr().out.count("Written: ") == 2
    assert {path.name for path in (tmp_path / "c").iterdir()} == {"spotter.c", "spotter.h"}
