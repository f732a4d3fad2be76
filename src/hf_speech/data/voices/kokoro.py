"""The neural voices of Kokoro (82 M parameters), whose styles can be mixed, so that two voices make many speakers.

A source is a folder with an .onnx file and `voices*.bin`, in the format of the package `kokoro-onnx`.
`FOLDER#af,bm_lewis` selects the voices whose names begin with one of these prefixes; the default is the English voices
(`a`, `b`). The first letter of a voice is its language.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from hf_speech.data.voices.base import Job, Speaker, distribute_sources, draw_pace, not_installed, open_session
from hf_speech.errors import CorpusError

ENGLISH = "a,b"
# eSpeak NG's names of languages, for phonemization.
LANGUAGES = {"a": "en-us", "b": "en-gb", "e": "es", "f": "fr-fr", "h": "hi", "i": "it", "p": "pt-br"}
MIN_SHARE, MAX_SHARE = 30, 70  # percent of a voice in a mixture


class Kokoro:
    """Kokoro. Its sources are folders."""

    name = "kokoro"
    title = "Kokoro"
    shard_size = 100

    def files(self, source: str) -> list[Path]:
        """Returns the files of the model and of the voice styles."""
        folder = Path(source.partition("#")[0]).expanduser()
        models, styles = sorted(folder.glob("*.onnx")), sorted(folder.glob("voices*.bin"))
        if not models or not styles:
            raise CorpusError(f"{folder} has no Kokoro voices: give a folder with an .onnx file and voices.bin.")
        return [models[0], styles[0]]

    def cast(
        self, sources: Mapping[str, Sequence[str]], counts: Mapping[str, int], rng: np.random.Generator
    ) -> dict[str, Iterator[Speaker]]:
        """Returns the speakers of each split: its voices, then mixtures of two voices."""
        shares = distribute_sources(self._voices, sources, counts, rng)
        return {split: _speakers(names, rng) for split, names in shares.items()}

    def speak(self, jobs: Sequence[Job]) -> Iterator[tuple[np.ndarray, int]]:
        """Synthesizes each job."""
        for text, speaker in jobs:
            model = _load(*self.files(speaker.source))
            name, _, rest = speaker.voice.partition("-")
            style = model.get_voice_style(name)
            if rest:  # "af_heart-60-bf_emma": 60 % of the first voice
                percent, _, other = rest.partition("-")
                share = int(percent) / 100
                style = share * style + (1 - share) * model.get_voice_style(other)
            language = LANGUAGES.get(name[0], "en-us")
            try:
                yield model.create(text, voice=style, speed=float(np.clip(speaker.speed, 0.5, 2.0)), lang=language)
            except ValueError:  # The text has no phonemes.
                yield np.zeros(0, np.float32), 24_000

    def _voices(self, source: str) -> list[tuple[str, str]]:
        """Returns the folder and the name of each voice of a source."""
        prefixes = tuple((source.partition("#")[2] or ENGLISH).split(","))
        with np.load(self.files(source)[1]) as styles:
            names = sorted(name for name in styles.files if name.startswith(prefixes))
        if not names:
            raise CorpusError(
                f"No Kokoro voice in {source} has a name that begins with {' or '.join(prefixes)}: correct the prefix."
            )
        return [(source.partition("#")[0], name) for name in names]


@lru_cache(maxsize=2)
def _load(model: Path, styles: Path) -> Any:
    try:
        from kokoro_onnx import Kokoro as Model
    except ImportError as error:
        raise not_installed(Kokoro.title) from error
    return Model.from_session(open_session(model), str(styles))


def _speakers(voices: Sequence[tuple[str, str]], rng: np.random.Generator) -> Iterator[Speaker]:
    for source, name in voices:
        yield Speaker(name, 50, draw_pace(rng), Kokoro.name, source)
    while True:
        source, name = voices[int(rng.integers(len(voices)))]
        others = [other for folder, other in voices if folder == source and other != name]
        if others:
            share = int(rng.integers(MIN_SHARE, MAX_SHARE, endpoint=True))
            name = f"{name}-{share}-{rng.choice(others)}"
        yield Speaker(name, 50, draw_pace(rng), Kokoro.name, source)
