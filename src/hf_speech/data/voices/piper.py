"""The voices of Piper: small neural models, each an .onnx file with an .onnx.json file, with one or more speakers."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import cycle
from pathlib import Path
from typing import Any

import numpy as np

from hf_speech.data.voices.base import Job, Speaker, distribute_sources, draw_pace, not_installed, open_session
from hf_speech.errors import CorpusError


class Piper:
    """Piper. Its sources are .onnx files, and folders of them."""

    name = "piper"
    title = "Piper"
    shard_size = 200

    def files(self, source: str) -> list[Path]:
        """Returns the .onnx files of a source."""
        path = Path(source).expanduser()
        found = sorted(path.rglob("*.onnx")) if path.is_dir() else [path]
        if missing := [file for file in found if not file.is_file() or not _config(file).is_file()]:
            raise CorpusError(
                f"{missing[0]} is not a Piper voice: give an .onnx file that has its .onnx.json file next to it."
            )
        if not found:
            raise CorpusError(f"The folder {source} has no Piper voices: give a folder with .onnx files.")
        return found

    def cast(
        self, sources: Mapping[str, Sequence[str]], counts: Mapping[str, int], rng: np.random.Generator
    ) -> dict[str, Iterator[Speaker]]:
        """Returns the speakers of each split, which cycle through the speakers of its voices."""

        def voices_of(source: str) -> list[tuple[Path, int]]:
            return [(file, number) for file in self.files(source) for number in range(_count_speakers(file))]

        shares = distribute_sources(voices_of, sources, counts, rng)
        return {split: _speakers(names, rng) for split, names in shares.items()}

    def speak(self, jobs: Sequence[Job]) -> Iterator[tuple[np.ndarray, int]]:
        """Synthesizes each job."""
        try:
            from piper.config import SynthesisConfig
        except ImportError as error:
            raise not_installed(self.title) from error
        for text, speaker in jobs:
            voice = _load(speaker.source)
            number = int(speaker.voice.rpartition("-")[2])
            options = SynthesisConfig(speaker_id=number, length_scale=voice.config.length_scale / speaker.speed)
            pieces = [chunk.audio_float_array for chunk in voice.synthesize(text, options)]
            yield np.concatenate([*pieces, np.zeros(0, np.float32)]), voice.config.sample_rate


def _speakers(voices: Sequence[tuple[Path, int]], rng: np.random.Generator) -> Iterator[Speaker]:
    for file, number in cycle(voices):
        yield Speaker(f"{file.stem}-{number}", 50, draw_pace(rng), Piper.name, str(file))


def _config(file: Path) -> Path:
    return file.with_name(f"{file.name}.json")


def _count_speakers(file: Path) -> int:
    return int(json.loads(_config(file).read_text(encoding="utf-8")).get("num_speakers", 1))


@lru_cache(maxsize=4)
def _load(file: str) -> Any:
    from piper import PiperVoice
    from piper.config import PiperConfig

    config = PiperConfig.from_dict(json.loads(_config(Path(file)).read_text(encoding="utf-8")))
    return PiperVoice(session=open_session(Path(file)), config=config)
