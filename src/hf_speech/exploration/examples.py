"""Example utterances to look at and listen to, original and augmented.

Sounds are as the model gets them: mono, at its sampling rate. The augmented versions are exactly those of the first
epochs of training: they come from the dataset class that training uses, with the same seed, epoch and row. Masks over
features are drawn from the same distribution as in training but differ, because in training they also depend on all
earlier random draws.
"""

from __future__ import annotations

import copy
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from datasets import Dataset

from hf_speech.common.progress import progress_bar
from hf_speech.data.audio import read_audio
from hf_speech.data.augmentation import Augmentation
from hf_speech.data.dataset import SpeechDataset
from hf_speech.exploration.pictures import Scale, draw_utterance
from hf_speech.exploration.table import Entry
from hf_speech.models import SpeechFeatureExtractor
from hf_speech.models.spec_augment import spec_augment_by_config

# The number of epochs whose versions are shown next to the original.
EPOCHS = 3
# The number of classes with examples if no number of examples is given, because drawing takes time.
MAX_CLASSES = 40

DONE = {
    "speed": "{:.2f} times the speed",
    "pitch": "pitch {:+.1f} semitones",
    "tempo": "{:.2f} times the tempo",
    "rooms": "in a recorded room",
    "reverberation": "in a room of {:.2f} s",
    "equalizer": "equalizer of at most {:g} dB",
    "noise_snr": "noise {:.0f} dB below the speech",
    "gain": "gain {:+.1f} dB",
    "telephone": "over the telephone",
    "opus": "Opus at {:.0f} kbit/s",
}
"""The description of each step of an `Augmentation`, by the name of its field; `describe` handles `silence`."""


@dataclass
class Version:
    """One utterance, original or augmented.

    Attributes:
        title: "original" or "epoch 1".
        waveform: `(samples,)`.
        features: The model's input, `(frames, features)`.
        done: The augmentation steps that were applied, a phrase each.
        target: Class or transcript, followed by that of a joined utterance.
        joined: Whether another utterance is joined to it.
        image: File name of its picture.
        sound: File name of its sound.
    """

    title: str
    waveform: np.ndarray
    features: np.ndarray
    done: list[str]
    target: str
    joined: bool = False
    image: str = ""
    sound: str = ""


@dataclass
class Example:
    """An utterance of the corpus in one or more versions, the original first.

    Attributes:
        entry: Its row.
        versions: The original, then the augmented versions.
        louder: The factor by which its sounds are attenuated in the sound files; 1 for none.
    """

    entry: Entry
    versions: list[Version] = field(default_factory=list)
    louder: float = 1.0


def every_nth(class_names: Sequence[str] | None) -> Sequence[str] | None:
    """Returns at most `MAX_CLASSES` class names, evenly spaced."""
    if class_names is None or len(class_names) <= MAX_CLASSES:
        return class_names
    return [class_names[index] for index in np.linspace(0, len(class_names) - 1, MAX_CLASSES).round().astype(int)]


def choose_examples(
    entries: Sequence[Entry], count: int, class_names: Sequence[str] | None = None, seed: int = 0
) -> list[int]:
    """Chooses representative utterances: short and long ones, from as many speakers as possible.

    Args:
        entries: The usable rows of a split.
        count: Utterances per class, or in all if there are no classes.
        class_names: The classes to show, in order.
        seed: Seed of the remaining random choices.

    Returns:
        Positions in `entries`, class by class, shorter ones first.
    """
    groups: dict[str | None, list[int]] = {name: [] for name in class_names} if class_names is not None else {None: []}
    for position, entry in enumerate(entries):
        if (name := None if class_names is None else entry.target) in groups:
            groups[name].append(position)
    rng = np.random.default_rng(seed)
    shown: Counter[str | None] = Counter()
    chosen: list[int] = []
    for group in groups.values():
        by_length = sorted(group, key=lambda position: entries[position].duration)
        for part in np.array_split(np.array(by_length, dtype=int), min(count, len(by_length)) or 1):
            if len(part):
                candidates = rng.permutation(part).tolist()
                best = min(candidates, key=lambda position: shown[entries[position].speaker])
                shown[entries[best].speaker] += 1
                chosen.append(best)
    return chosen


def make_examples(
    entries: Sequence[Entry], rows: Dataset, positions: Sequence[int], extractor: SpeechFeatureExtractor
) -> tuple[list[Example], list[str]]:
    """Reads original utterances.

    Returns:
        The examples, and a sentence for each utterance whose features cannot be computed.
    """
    examples, problems = [], []
    for position in positions:
        entry = entries[position]
        try:
            waveform = read_audio(rows[position]["audio"], extractor.sampling_rate)
            features = compute_features(waveform, extractor)
        except ValueError as error:
            problems.append(f"{entry.path}: {error}")
            continue
        examples.append(Example(entry, [Version("original", waveform, features, [], entry.target or "")]))
    return examples, problems


def add_augmented(
    examples: Sequence[Example],
    entries: Sequence[Entry],
    rows: Dataset,
    extractor: SpeechFeatureExtractor,
    augmentation: Augmentation,
    config: Any,
    seed: int,
) -> None:
    """Adds to each example its augmented versions in the first epochs of training.

    Args:
        examples: Examples of the training split, from `make_examples`.
        entries: All usable rows of that split as entries.
        rows: The same rows.
        extractor: The model's feature extractor.
        augmentation: The recipe's augmentation.
        config: The model's configuration, which has the settings of the masks.
        seed: The recipe's `training.seed`.
    """
    dataset = SpeechDataset(
        rows, extractor.sampling_rate, lambda row: None, augmentation, seed, join_targets=lambda first, second: None
    )
    # By identity, because two rows may be equal.
    position_of = {id(entry): position for position, entry in enumerate(entries)}
    for epoch in range(EPOCHS):
        dataset.set_epoch(epoch)
        for example in examples:
            position = position_of[id(example.entry)]
            waveform = dataset[position]["waveform"]
            done = describe(dataset.applied)
            target = example.entry.target or ""
            if (follower := dataset.follower(position)) is not None:
                done.insert(0, "joined with another utterance")
                target = f"{target} + {entries[follower].target}"
            features, masks = mask_features(compute_features(waveform, extractor), config, (seed, epoch, position))
            joined = follower is not None
            example.versions.append(Version(f"epoch {epoch + 1}", waveform, features, done + masks, target, joined))


def compute_features(waveform: np.ndarray, extractor: SpeechFeatureExtractor) -> np.ndarray:
    """Returns the features of a waveform `(samples,)` without padding, `(frames, features)`."""
    batch = extractor([waveform], sampling_rate=extractor.sampling_rate, return_tensors="np")
    features: np.ndarray = batch["input_features"][0]
    return features[: extractor.num_frames(len(waveform))]


def mask_features(features: np.ndarray, config: Any, seed: tuple[int, ...]) -> tuple[np.ndarray, list[str]]:
    """Masks and warps features `(frames, features)` as a model does during training.

    Returns:
        The features, in the same shape, and phrases that describe the changes.
    """
    batch = torch.from_numpy(features)[None]
    lengths = torch.tensor([len(features)])
    unmasked = copy.copy(config)
    unmasked.num_time_masks = unmasked.num_frequency_masks = 0
    state = int(np.random.SeedSequence(seed).generate_state(1)[0])
    results = []
    for settings in (unmasked, config):  # The warp is drawn first, so both results have the same.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(state)
            results.append(spec_augment_by_config(batch, lengths, settings)[0])
    warped, masked = results
    done = [] if torch.equal(warped, batch[0]) else ["frequencies warped"]
    changed = warped != masked
    for share, what in ((changed.all(1), "of the time"), (changed.all(0), "of the frequencies")):
        if share.any():
            done.append(f"{share.float().mean():.0%} {what} masked")
    return masked.numpy(), done


def describe(applied: dict[str, tuple[float, ...]]) -> list[str]:
    """Returns a phrase for each step of an augmentation."""
    done = []
    for name, values in applied.items():
        if name == "silence":
            ends = [(value, side) for value, side in zip(values, ("before", "after"), strict=True) if round(value, 2)]
            done += [f"{abs(value):.2f} s {'of silence' if value > 0 else 'cut'} {side}" for value, side in ends]
        else:
            done.append(DONE.get(name, f"{name} {{:g}}").format(*values))
    return done


def save_examples(examples: Sequence[Example], folder: Path, extractor: SpeechFeatureExtractor) -> None:
    """Writes a picture and a sound file of every version into a folder, and sets `image` and `sound`.

    The versions of an example share axes and loudness: if one exceeds full scale, all are attenuated by `louder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with progress_bar(
        total=sum(len(example.versions) for example in examples), desc="Drawing examples", unit="picture", leave=False
    ) as progress:
        for number, example in enumerate(examples, start=1):
            versions = example.versions
            waveforms = [version.waveform for version in versions]
            scale = Scale.of(waveforms, [version.features for version in versions], extractor)
            # A joined utterance may be twice as long; with its time axis, the others would fill half of their pictures.
            single = max(len(version.waveform) for version in versions if not version.joined) / extractor.sampling_rate
            example.louder = max(scale.amplitude, 1.0)
            slug = re.sub(r"[^\w-]+", "-", versions[0].target).strip("-")[:32].strip("-") or "utterance"
            for index, version in enumerate(versions):
                stem = f"{number:02d}-{slug}" + (f"-augmented-{index}" if index else "")
                version.image, version.sound = f"{stem}.png", f"{stem}.wav"
                heading = version.target if len(versions) == 1 else f"{version.title}: {version.target}"
                if example.entry.speaker:
                    heading += f" ({example.entry.speaker})"
                seconds = max(len(version.waveform) / extractor.sampling_rate, single)
                limits = replace(scale, seconds=seconds)
                draw_utterance(version.waveform, version.features, extractor, limits, folder / version.image, heading)
                samples = version.waveform / example.louder
                soundfile.write(folder / version.sound, samples, extractor.sampling_rate, subtype="PCM_16")
                progress.update()
