"""An experiment on speaker adaptation: each speaker is left out of training, then adapted to with a few clips."""

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
from hf_speech.experiments.compare import percent, percent_range
from hf_speech.experiments.runs import finish_run
from hf_speech.experiments.suite import ExperimentFolders, Item
from hf_speech.training import load_recipe
from hf_speech.training.adapt import COMPARISONS, adapt

SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
TUNED_ON = ("jackson", "theo")  # The recipe's settings: benchmarks/results.md.
# Index of the first test clip of each digit; the clips before it are for adaptation.
FIRST_TEST_CLIP = 5


@dataclass(frozen=True)
class AdaptationItem(Item):
    """Adaptation to each speaker of the Free Spoken Digit Dataset.

    Attributes:
        counts: Numbers of clips of each digit to adapt with, at most five.
        speakers: The speakers to leave out, one at a time.
    """

    counts: tuple[int, ...] = (1, 2, 5)
    speakers: tuple[str, ...] = SPEAKERS

    def run(self, folders: ExperimentFolders) -> dict[str, Any]:
        """Trains a model without each speaker and adapts it, skipping what is already done."""
        rows: dict[str, dict[str, Any]] = {}
        for speaker in self.speakers:
            words = ["--holdout_speaker", speaker, *self.overrides]
            data_dir = folders.data_dir(self.folder)
            base = folders.runs / self.name / speaker
            command = shlex.join(["hf-speech", "train", self.recipe, *folders.recorded_data_dir(self.folder), *words])
            recipe = load_recipe(self.recipe, [*data_dir, *words])
            finish_run(recipe, base, command)
            corpus = FSDD(data_dir=recipe.corpus.data_dir, holdout_speaker=speaker)
            clips = {clip.audio: str(clip.label) for clip in corpus.splits()["test"] if isinstance(clip.audio, Path)}
            rows[speaker] = {"command": command}
            for count in self.counts:
                rows[speaker][str(count)] = self._adapt(base, clips, count, data_dir)
        return {"kind": "voices", "rows": rows}

    def _adapt(self, base: Path, clips: Mapping[Path, str], count: int, data_dir: list[str]) -> dict[str, Any]:
        """Adapts a model with `count` clips of each digit, and returns its metrics on the new and the old speakers."""
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
            old = data_dir[1] if data_dir else None
            command = ["hf-speech", "adapt", str(base), str(folder), *(["--old_data_dir", old] if old else [])]
            adapt(str(base), folder, old, output_dir=run_dir, overwrite=run_dir.exists(), command=shlex.join(command))
        content: dict[str, Any] = json.loads((run_dir / COMPARISONS).read_text(encoding="utf-8"))
        rows = {row["what"]: row for row in content["rows"]}
        return {"command": content["command"], "new": rows["new clips, test"], "old": rows.get("fsdd, validation")}

    def is_done(self, folders: ExperimentFolders) -> bool:
        """Returns whether all adaptations are finished."""
        names = [f"{speaker}-{count}" for speaker in self.speakers for count in self.counts]
        return all((folders.runs / self.name / name / COMPARISONS).is_file() for name in names)


def adaptation_table(record: Mapping[str, Any]) -> str:
    """Returns the record of `AdaptationItem` as a Markdown table.

    It shows the accuracy on the new speaker before and after adaptation, and the change for the other speakers.
    """
    rows: Mapping[str, Mapping[str, Any]] = record["rows"]
    counts = [key for key in next(iter(rows.values())) if key != "command"]
    head = [
        "speaker left out",
        "before",
        *(f"{count} clip{'s' * (count != '1')} per digit" for count in counts),
        *(f"other speakers, {count}" for count in counts),
    ]
    lines = []
    for speaker, row in rows.items():
        new = [row[count]["new"] for count in counts]
        old = [row[count]["old"] for count in counts]
        cells = [percent(new[0]["before"]["accuracy"]), *(_with_interval(result) for result in new)]
        changes = [result["after"]["accuracy"] - result["before"]["accuracy"] for result in old if result]
        lines.append([speaker, *cells, *(f"{100 * change:+.1f} points" for change in changes)])
    missing = [speaker for speaker in SPEAKERS if speaker not in rows]
    untuned = [row for speaker, row in rows.items() if speaker not in TUNED_ON]
    if not missing:
        values = [percent(sum(row[counts[0]]["new"]["before"]["accuracy"] for row in untuned) / len(untuned))]
        values += [
            percent(sum(row[count]["new"]["after"]["accuracy"] for row in untuned) / len(untuned)) for count in counts
        ]
        lines.append([f"mean of the {len(untuned)} not used to choose settings", *values, *[""] * len(counts)])
    first = next(iter(rows.values()))
    commands = [first["command"], *(first[count]["command"] for count in counts)]
    parts = ["\n".join(f"`{command}`  " for command in commands), format_markdown(head, lines)]
    parts += [f"Not run yet: {', '.join(missing)}."] if missing else []
    return "\n\n".join(parts)


def _with_interval(row: Mapping[str, Any]) -> str:
    value, count = row["after"]["accuracy"], row["num_utterances"]
    return f"**{percent(value)}** {percent_range(wilson_interval(round(value * count), count))}"
