"""The experiment of one new voice: each speaker left out of training, then adapted to from a few clips."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hf_speech.common.tables import format_markdown
from hf_speech.data.corpora import FSDD
from hf_speech.evaluation import wilson_interval
from hf_speech.experiments.runs import finish_run
from hf_speech.experiments.suite import ExperimentFolders, Item
from hf_speech.training import load_recipe
from hf_speech.training.adapt import COMPARISONS, adapt

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
CHOSEN_ON = ("jackson", "theo")  # The recipe's settings: benchmarks/results.md.
# The clips that are tested on; the others of the speaker may be adapted to.
FIRST_TEST_CLIP = 5


@dataclass(frozen=True)
class Voices(Item):
    """Adaptations to each speaker of the Free Spoken Digit Dataset.

    Attributes:
        counts: Clips of each digit that are adapted to, at most five.
        speakers: The speakers.
    """

    counts: tuple[int, ...] = (1, 2, 5)
    speakers: tuple[str, ...] = SPEAKERS

    def run(self, folders: ExperimentFolders) -> dict[str, Any]:
        """Trains the models without a speaker, and adapts them, as far as that is missing."""
        rows: dict[str, dict[str, Any]] = {}
        for speaker in self.speakers:
            words = ["--holdout_speaker", speaker, *self.overrides]
            place = folders.data_dir(self.folder)
            base = folders.runs / self.name / speaker
            command = shlex.join(["hf-speech", "train", self.recipe, *folders.quoted(self.folder), *words])
            recipe = load_recipe(self.recipe, [*place, *words])
            finish_run(recipe, base, command)
            corpus = FSDD(data_dir=recipe.corpus.data_dir, holdout_speaker=speaker)
            clips = {clip.audio: str(clip.label) for clip in corpus.splits()["test"] if isinstance(clip.audio, Path)}
            rows[speaker] = {"command": command}
            for count in self.counts:
                rows[speaker][str(count)] = self._adapt(base, clips, count, place)
        return {"kind": "voices", "rows": rows}

    def _adapt(self, base: Path, clips: Mapping[Path, str], count: int, place: list[str]) -> dict[str, Any]:
        """Adapts a model to some clips of each digit, and gives the figures."""
        run_dir, folder = (base.with_name(f"{base.name}-{count}{end}") for end in ("", "-clips"))
        if not (run_dir / COMPARISONS).is_file():
            for clip, digit in clips.items():
                index = int(clip.stem.rpartition("_")[2])
                split = "test" if index >= FIRST_TEST_CLIP else "train" if index < count else None
                if split is not None:
                    link = folder / split / digit / clip.name
                    link.parent.mkdir(parents=True, exist_ok=True)
                    if not link.is_symlink():
                        link.symlink_to(clip.resolve())
            old = place[1] if place else None
            command = ["hf-speech", "adapt", str(base), str(folder), *(["--old_data_dir", old] if old else [])]
            adapt(str(base), folder, old, output_dir=run_dir, overwrite=run_dir.exists(), command=shlex.join(command))
        content: dict[str, Any] = json.loads((run_dir / COMPARISONS).read_text(encoding="utf-8"))
        rows = {row["what"]: row for row in content["rows"]}
        figures = {"new": rows["new clips, test"], "old": rows.get("fsdd, validation")}
        return {"command": content["command"], **figures}

    def is_done(self, folders: ExperimentFolders) -> bool:
        """Whether all adaptations are there."""
        names = [f"{speaker}-{count}" for speaker in self.speakers for count in self.counts]
        return all((folders.runs / self.name / name / COMPARISONS).is_file() for name in names)


def voices_table(record: Mapping[str, Any]) -> str:
    """The record of `Voices` in Markdown: accuracy on the new voice before and after, and its change on the others."""
    rows: Mapping[str, Mapping[str, Any]] = record["rows"]
    counts = [key for key in next(iter(rows.values())) if key != "command"]
    head = [
        "speaker left out",
        "before",
        *(f"{count} clip{'s' * (count != '1')} a digit" for count in counts),
        *(f"others, {c}" for c in counts),
    ]
    lines = []
    for speaker, row in rows.items():
        new = [row[count]["new"] for count in counts]
        old = [row[count]["old"] for count in counts]
        cells = [_percent(new[0]["before"]["accuracy"]), *(_with_interval(one) for one in new)]
        changes = [one["after"]["accuracy"] - one["before"]["accuracy"] for one in old if one]
        lines.append([speaker, *cells, *(f"{100 * change:+.1f} points" for change in changes)])
    missing = [speaker for speaker in SPEAKERS if speaker not in rows]
    four = [row for speaker, row in rows.items() if speaker not in CHOSEN_ON]
    if not missing:
        values = [_percent(sum(row[counts[0]]["new"]["before"]["accuracy"] for row in four) / len(four))]
        values += [
            _percent(sum(row[count]["new"]["after"]["accuracy"] for row in four) / len(four)) for count in counts
        ]
        lines.append([f"mean of the {len(four)} that no setting was chosen on", *values, *[""] * len(counts)])
    first = next(iter(rows.values()))
    commands = [first["command"], *(first[count]["command"] for count in counts)]
    parts = ["\n".join(f"`{command}`  " for command in commands), format_markdown(head, lines)]
    parts += [f"Not run yet: {', '.join(missing)}."] if missing else []
    return "\n\n".join(parts)


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _with_interval(row: Mapping[str, Any]) -> str:
    value, count = row["after"]["accuracy"], row["num_utterances"]
    low, high = wilson_interval(round(value * count), count)
    return f"**{_percent(value)}** ({100 * low:.1f} to {100 * high:.1f})"


__all__ = ["Voices", "voices_table"]
