"""Running models on sounds: order, batches, and unreadable sounds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
from datasets import Dataset
from safetensors.torch import load_file, save_file

from hf_speech.errors import AudioError, ModelError
from hf_speech.inference import LoadedModel, classify_files, load_model, predict, prediction


def logits_of(loaded: LoadedModel, sources: object, **arguments: object) -> np.ndarray:
    return np.stack([one.logits for one in predict(loaded, sources, progress=False, **arguments)])


def test_results_are_ordered_and_do_not_depend_on_batches(
    saved_model: Path, tones: Dataset, monkeypatch: pytest.MonkeyPatch
):
    loaded = load_model(saved_model, device="cpu")
    alone = np.concatenate([logits_of(loaded, [source]) for source in tones["audio"]])
    assert np.ptp(alone[:, 0]) > 0.1  # Otherwise the order would not be visible.
    for window, batch_size in ((8, 16), (1, 7), (2, 1)):
        monkeypatch.setattr(prediction, "WINDOW", window)
        assert np.abs(logits_of(loaded, tones["audio"], batch_size=batch_size) - alone).max() < 1e-5


def test_reads_lazy_sources_in_windows(saved_model: Path, tones: Dataset, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(prediction, "WINDOW", 2)
    taken = []

    def lazily():
        for index, source in enumerate(tones["audio"]):
            taken.append(index)
            yield source

    results = predict(load_model(saved_model, device="cpu"), lazily(), batch_size=4, progress=False)
    assert taken == []
    assert next(results).index == 0
    assert taken == list(range(8))


def test_batches_contain_similar_lengths(saved_model: Path, tones: Dataset, monkeypatch: pytest.MonkeyPatch):
    run, lengths = prediction._run, []

    def spy(loaded: LoadedModel, batch: list, bad_rows: str):
        lengths.append([len(utterance.samples) for utterance in batch])
        return run(loaded, batch, bad_rows)

    monkeypatch.setattr(prediction, "_run", spy)
    logits_of(load_model(saved_model, device="cpu"), tones["audio"], batch_size=10)
    assert [len(batch) for batch in lengths] == [10] * 6
    flat = [length for batch in lengths for length in batch]
    assert flat == sorted(flat)


def test_measures_durations_and_times(saved_model: Path, tones: Dataset):
    loaded = load_model(saved_model, device="cpu")
    for one, source in zip(predict(loaded, tones["audio"], progress=False), tones["audio"], strict=True):
        assert one.duration == soundfile.info(source["path"]).duration
        assert 0 < one.processing_seconds < 10


def test_all_kinds_of_sources_give_the_same_results(saved_model: Path, tones: Dataset):
    path = tones[0]["audio"]["path"]
    samples, rate = soundfile.read(path, dtype="float32")
    sources = [path, Path(path), Path(path).read_bytes(), {"array": samples, "sampling_rate": rate}]
    logits = logits_of(load_model(saved_model, device="cpu"), sources)
    assert np.abs(logits - logits[0]).max() < 1e-5


def bad_sounds(folder: Path) -> list[str]:
    (folder / "empty.wav").write_bytes(b"")
    (folder / "text.wav").write_text("This is no sound.")
    soundfile.write(folder / "short.wav", np.full(3, 0.1, dtype=np.float32), 8000)
    return [str(folder / name) for name in ("empty.wav", "text.wav", "short.wav", "missing.wav")]


def test_rejects_and_names_a_bad_sound(saved_model: Path, tones: Dataset, tmp_path: Path):
    loaded = load_model(saved_model, device="cpu")
    for bad in bad_sounds(tmp_path):
        with pytest.raises(AudioError, match=Path(bad).name):
            list(predict(loaded, [tones[0]["audio"], bad, tones[1]["audio"]], progress=False))


def test_skips_only_bad_sounds(saved_model: Path, tones: Dataset, tmp_path: Path):
    """Including a sound in a batch that only the feature extractor finds too short."""
    loaded = load_model(saved_model, device="cpu")
    good = [source["path"] for source in tones["audio"]][:4]
    bad = bad_sounds(tmp_path)
    sources = [path for pair in zip(good, bad, strict=True) for path in pair]
    results = list(predict(loaded, sources, progress=False, bad_rows="skip"))
    assert [result.index for result in results] == list(range(8))
    assert np.abs(np.stack([result.logits for result in results[::2]]) - logits_of(loaded, good)).max() < 1e-5
    for result, name in zip(results[1::2], bad, strict=True):
        assert result.logits is None
        assert name in str(result.error)


def test_rejects_a_diverged_model(model_copy: Path, tones: Dataset):
    weights = load_file(model_copy / "model.safetensors")
    weights["classifier.weight"][0] = weights["classifier.bias"][0] = 3e38  # finite weights, but not finite logits
    save_file(weights, model_copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ModelError, match=r"logits that are not finite for .*speaker"):
        list(predict(load_model(model_copy, device="cpu"), tones["audio"], progress=False))


def test_classifies_files_with_probabilities(saved_model: Path, tones: Dataset, tmp_path: Path):
    files = [tones[0]["audio"]["path"], tmp_path / "missing.wav"]
    found, missing = classify_files(saved_model, files, top_k=2)
    assert found["file"] == files[0]
    assert [set(entry) for entry in found["labels"]] == [{"label", "score"}] * 2
    assert found["labels"][0]["score"] >= found["labels"][1]["score"] > 0
    assert missing["file"] == str(files[1])
    assert "missing.wav" in missing["error"]
