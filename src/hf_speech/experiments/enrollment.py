"""An experiment on new keywords: each is enrolled with a few clips, and tested on the others and hours of negatives."""

from __future__ import annotations

import json
import random
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from hf_speech.common.files import write_json
from hf_speech.common.tables import format_markdown
from hf_speech.data.corpora.files import sound_files
from hf_speech.data.corpora.keywords import OTHER
from hf_speech.decoding.patterns import PATTERNS, load_patterns
from hf_speech.errors import CorpusError
from hf_speech.evaluation import wilson_interval
from hf_speech.evaluation.detection import detection_rates
from hf_speech.evaluation.provenance import versions
from hf_speech.experiments.compare import percent, percent_range
from hf_speech.experiments.suite import ExperimentFolders, Item
from hf_speech.inference import load_model
from hf_speech.inference.listening import keyword_model
from hf_speech.tasks import KeywordSpotting
from hf_speech.tasks.keyword_spotting import subtract_thresholds
from hf_speech.training import load_recipe
from hf_speech.training.enroll import enroll
from hf_speech.training.enroll_recognizer import clips_in_context, compute_logits, detection_records, negative_logits

WORDS = ("computer", "jarvis", "alexa", "snowboy", "smart mirror", "view glass")
TUNED_ON = ("computer", "jarvis")
RATE = 1.0
RESULT = "enrollment.json"


@dataclass(frozen=True)
class EnrollmentItem(Item):
    """Keywords that are enrolled in the recognizer `base`, a model folder. `overrides` are the negatives of each split.

    Attributes:
        words: The keywords, each a folder of clips.
        count: Number of clips to enroll, drawn at random; the others are tested.
    """

    words: tuple[str, ...] = WORDS
    count: int = 10

    def run(self, folders: ExperimentFolders) -> dict[str, Any]:
        """Enrolls and tests each keyword, skipping what is already done.

        Raises:
            CorpusError: If there is no folder of corpora.
        """
        return {"kind": "enrollment", "rows": {word: self._enroll(folders, word) for word in self.words}}

    def _enroll(self, folders: ExperimentFolders, word: str) -> dict[str, Any]:
        run_dir = folders.runs / self.name / word
        if not (run_dir / RESULT).is_file():
            if folders.corpora is None:
                raise CorpusError(f"{self.name} has no corpus to download: give the folder of the corpora (--corpora).")
            arguments = [*folders.data_dir(self.folder), *map(folders.resolve, self.overrides)]
            corpus: Any = load_recipe(self.recipe, arguments).corpus
            clips = sound_files([Path(corpus.data_dir) / word])
            enrolled = set(random.Random(0).sample(clips, self.count))
            folder = run_dir.with_name(f"{word}-clips")
            folder.mkdir(parents=True, exist_ok=True)
            for clip in enrolled:
                (folder / clip.name).unlink(missing_ok=True)
                (folder / clip.name).symlink_to(clip.resolve())
            command, negatives = ["hf-speech", "listen", self.base, str(folder), "--enroll", word], []
            for split, option in (("train", "--negatives"), ("validation", "--validation_negatives")):
                paths = getattr(corpus, f"{split}_negatives")
                command += [part for path in paths for part in (option, path)]
                negatives += [f"--{split}_negatives", json.dumps(paths)]
            command += ["--output_dir", str(run_dir)]
            options: dict[str, Any] = {"overwrite": run_dir.exists(), "command": shlex.join(command), "rate": RATE}
            result, tuned = enroll(self.base, word, [folder], negatives, run_dir, **options)
            assert tuned is not None, "a recognizer always gets a threshold"
            threshold = tuned.options.thresholds[word]
            others = [clip for clip in clips if clip not in enrolled]
            record = {
                "command": options["command"],
                "seconds": result.seconds,
                "enrolled": [clip.name for clip in clips if clip in enrolled],
                "threshold": threshold,
                **self._test(run_dir, word, threshold, others, corpus.test_negatives),
                "date": datetime.now(UTC).isoformat(timespec="seconds"),
                "versions": versions(),
            }
            write_json(run_dir / RESULT, record)
        content: dict[str, Any] = json.loads((run_dir / RESULT).read_text(encoding="utf-8"))
        return content

    def _test(
        self, run_dir: Path, word: str, threshold: float, clips: list[Path], negatives: list[str]
    ) -> dict[str, Any]:
        """Measures misses at `RATE` on the test negatives, and both misses and false alarms at the chosen threshold.

        The misses at `RATE` are counted again with each clip between segments of the test negatives.
        """
        loaded = load_model(self.base, device="cpu")
        model, task = keyword_model(loaded), KeywordSpotting()
        pattern = load_patterns(run_dir / PATTERNS, len(model.labels))[word]
        spoken, others = compute_logits(model, clips, "skip"), negative_logits(model, negatives, "test_negatives")
        surrounded = compute_logits(model, clips_in_context(clips, negatives, model.sampling_rate), "skip")
        alarms = detection_records(pattern, word, OTHER, others, model.labels)
        rates = []
        for own in (surrounded, spoken):
            records = [*detection_records(pattern, word, word, own, model.labels), *alarms]
            metrics = task.metrics_from_counts(task.tally(records).sum(axis=0))
            rates.append(float(metrics[f"miss_rate_{RATE:g}"]))
        subtract_thresholds(records, {word: threshold})
        above = [sum(score >= 0 for _, _, score in record["peaks"]) for record in records]
        missed = sum(not count for count in above[: len(spoken.logits)])
        hours = sum(others.seconds) / 3600
        return {
            "model_revision": loaded.revision,
            "num_skipped": len(spoken.skipped) + len(others.skipped),
            "negative_hours": hours,
            "miss_rate": rates[1],
            "miss_rate_in_context": rates[0],
            "detector": detection_rates(len(spoken.logits), missed, sum(above[len(spoken.logits) :]), hours),
        }

    def is_done(self, folders: ExperimentFolders) -> bool:
        """Returns whether all keywords have been tested."""
        return all((folders.runs / self.name / word / RESULT).is_file() for word in self.words)


def enrollment_table(record: Mapping[str, Any]) -> str:
    """Returns the record of `EnrollmentItem` as a Markdown table with a row for each keyword, and their mean."""
    rows: Mapping[str, Mapping[str, Any]] = record["rows"]
    head = ["keyword", "clips", f"missed at {RATE:g} false alarm per hour", "between other speech"]
    head += ["missed at the chosen threshold", "false alarms per hour at this threshold", "minutes"]
    lines = []
    for word, row in rows.items():
        own, count = row["detector"], row["detector"]["clips"]
        intervals = [wilson_interval(round(row[key] * count), count) for key in ("miss_rate", "miss_rate_in_context")]
        low, high = own["false_alarms_per_hour_interval"]
        lines.append(
            [
                word,
                str(count),
                f"**{percent(row['miss_rate'])}** {percent_range(intervals[0])}",
                f"{percent(row['miss_rate_in_context'])} {percent_range(intervals[1])}",
                f"{percent(own['miss_rate'])} {percent_range(own['miss_rate_interval'])}",
                f"{own['false_alarms_per_hour']:.2f} ({low:.2f} to {high:.2f})",
                f"{row['seconds'] / 60:.1f}",
            ]
        )
    untuned = [row for word, row in rows.items() if word not in TUNED_ON]
    if len(untuned) > 1:
        rates = [[row[key] for row in untuned] for key in ("miss_rate", "miss_rate_in_context")]
        rates.append([row["detector"]["miss_rate"] for row in untuned])
        alarms = sum(row["detector"]["false_alarms_per_hour"] for row in untuned) / len(untuned)
        means = [percent(sum(values) / len(untuned)) for values in rates]
        lines.append([f"mean of the {len(untuned)} not used to choose settings", "", *means, f"{alarms:.2f}", ""])
    first = next(iter(rows.values()))
    remarks = (
        f"False alarms were counted in {first['negative_hours']:.1f} hours. For the first columns of misses, the "
        f"threshold gives {RATE:g} per hour there; for the second one, each clip is between segments of the test "
        "negatives, 5 dB louder to 20 dB quieter than the clip. The chosen threshold comes from the validation "
        "negatives. The first keyword takes longest, since the outputs for the negatives are kept for the others."
    )
    if skipped := sum(row["num_skipped"] for row in rows.values()):
        remarks += f" Recordings that cannot be read and were not tested: {skipped}."
    return "\n\n".join([f"`{first['command']}`", format_markdown(head, lines), remarks])
