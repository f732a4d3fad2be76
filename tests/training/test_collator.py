"""The collator for transformers' Trainer."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from hf_speech import DataCollatorForSpeech, SpeechFeatureExtractor, SpeechProcessor, load_model, load_recipe
from hf_speech.errors import CorpusError


def test_collates_classes(tones_run: Path, tones_recipe: Path) -> None:
    loaded = load_model(tones_run)
    rows = [load_recipe(tones_recipe).corpus.load()["train"][index] for index in range(4)]
    batch = DataCollatorForSpeech(loaded.feature_extractor)(rows)
    assert batch["labels"].tolist() == [row["label"] for row in rows]
    output = loaded.model(**batch)
    assert torch.isfinite(output.loss)
    alone = loaded.model(**DataCollatorForSpeech(loaded.feature_extractor)(rows[:1])).logits
    torch.testing.assert_close(alone[0], output.logits[0], atol=1e-5, rtol=1e-5)


def test_normalizes_and_pads_transcripts(beeps_run: Path, beeps_recipe: Path) -> None:
    loaded = load_model(beeps_run)
    rows = [load_recipe(beeps_recipe).corpus.load()["train"][index] for index in range(5)]
    rows[0]["text"] = "  a   b "
    batch = DataCollatorForSpeech(SpeechProcessor(loaded.feature_extractor, loaded.tokenizer))(rows)
    assert loaded.tokenizer.decode(batch["labels"][0][batch["labels"][0] >= 0], group_tokens=False) == "a b"
    assert batch["labels"].shape == (5, max(len(" ".join(row["text"].split())) for row in rows))
    assert torch.isfinite(loaded.model(**batch).loss)


def test_accepts_decoded_samples_and_other_columns() -> None:
    collator = DataCollatorForSpeech(SpeechFeatureExtractor(sampling_rate=8000), "sound", "emotion")
    sound = {"array": np.full(16_000, 0.1), "sampling_rate": 16_000}
    assert collator([{"sound": sound, "emotion": 3}])["input_features"].shape == (1, 50, 80)
    with pytest.raises(CorpusError, match=r"no 'sound'.*remove_unused_columns=False"):
        collator([{"emotion": 3}])
