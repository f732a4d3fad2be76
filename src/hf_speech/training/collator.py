"""A data collator for transformers' Trainer, for corpora of hf_speech and any other dataset with audio."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from hf_speech.data.audio import read_audio
from hf_speech.errors import CorpusError
from hf_speech.tasks.transcripts import encode_text


class DataCollatorForSpeech:
    """Reads sounds, computes their features and pads them; use it with `remove_unused_columns=False`.

    Recipes have their own loader, which also augments, groups utterances by length and caches decoded audio.

    Args:
        processor: A `SpeechFeatureExtractor` for classes, or a `SpeechProcessor` (or another processor with a feature
            extractor and a CTC tokenizer) for transcripts.
        audio_column: Column of the sound: a path, `{"path", "bytes"}`, or `{"array", "sampling_rate"}`.
        target_column: Column of the class id or transcript; by default `label`, or `text` with a tokenizer.

    Example:
        >>> collator = DataCollatorForSpeech(SpeechFeatureExtractor(sampling_rate=8000))
        >>> batch = collator([{"audio": {"array": [0.1] * 800, "sampling_rate": 8000}, "label": 1}])
        >>> batch["input_features"].shape, batch["labels"]
        (torch.Size([1, 5, 80]), tensor([1]))
    """

    def __init__(self, processor: Any, audio_column: str = "audio", target_column: str | None = None) -> None:
        self.feature_extractor = getattr(processor, "feature_extractor", processor)
        self.tokenizer = getattr(processor, "tokenizer", None)
        self.audio_column = audio_column
        self.target_column = target_column or ("label" if self.tokenizer is None else "text")

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Collates rows into a batch.

        Args:
            rows: Rows of a dataset.

        Returns:
            `input_features` `(batch, frames, features)`, `attention_mask` `(batch, frames)` if the extractor returns
            one, and `labels`: class ids `(batch,)`, or token ids `(batch, tokens)` padded with -100.

        Raises:
            AudioError: If a sound cannot be read.
            CorpusError: If a row lacks a column, or its target.
        """
        rate = self.feature_extractor.sampling_rate
        waveforms = [read_audio(self._value(row, self.audio_column), rate) for row in rows]
        batch = dict(self.feature_extractor(waveforms, sampling_rate=rate, return_tensors="pt"))
        targets = [self._value(row, self.target_column) for row in rows]
        if self.tokenizer is None:
            batch["labels"] = torch.tensor(targets)
        else:
            ids = [torch.tensor(encode_text(text, self.tokenizer), dtype=torch.long) for text in targets]
            batch["labels"] = torch.nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=-100)
        return batch

    def _value(self, row: Mapping[str, Any], column: str) -> Any:
        if row.get(column) is None:
            raise CorpusError(
                f"A row has no {column!r}, only {', '.join(row)}: set audio_column and target_column, and "
                "remove_unused_columns=False."
            )
        return row[column]
