"""Checks that the parts of a model match: its feature extractor and its vocabulary."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoFeatureExtractor

import hf_speech.models  # which registers our feature extractor with the Auto class
from hf_speech.errors import PublishError
from hf_speech.publishing.checks.structure import read_mapping
from hf_speech.publishing.checks.upload import Upload


def check(upload: Upload) -> None:
    """Refuses a model whose parts do not fit."""
    if upload.kind == "model":
        check_sizes(upload.folder)


def check_sizes(folder: Path) -> None:
    """Refuses a feature extractor or vocabulary that does not fit the model."""
    config = read_mapping(folder / "config.json", needed=True)
    extractor = read_mapping(folder / "preprocessor_config.json", needed=True)
    if extractor.get("feature_extractor_type") == hf_speech.models.SpeechFeatureExtractor.__name__:
        try:
            # What it computes, not what its file declares.
            made = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=False)
        except (OSError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise PublishError(
                f"preprocessor_config.json makes no feature extractor ({reason}): save it again."
            ) from error
        extractor |= {"feature_size": made.feature_size, "hop_length": made.hop_length}
    for ours, theirs, what in (
        ("input_size", "feature_size", "features a frame"),
        ("hop_length", "hop_length", "samples from frame to frame"),
    ):
        if ours in config and theirs in extractor and config[ours] != extractor[theirs]:
            raise PublishError(
                f"The model expects {config[ours]} {what} and the feature extractor gives {extractor[theirs]}: save "
                "the extractor that it was trained with."
            )
    vocabulary = read_mapping(folder / "vocab.json")
    if vocabulary and "vocab_size" in config and len(vocabulary) != config["vocab_size"]:
        raise PublishError(
            f"The model writes {config['vocab_size']} tokens and vocab.json has {len(vocabulary)}: save the tokenizer "
            "that it was trained with."
        )
