"""Checks that a model, its feature extractor and its vocabulary have matching sizes."""

from __future__ import annotations

from transformers import AutoFeatureExtractor

import hf_speech.models  # Registers SpeechFeatureExtractor with AutoFeatureExtractor.
from hf_speech.errors import PublishError
from hf_speech.publishing.checks.structure import read_mapping
from hf_speech.publishing.checks.upload import Upload


def check(upload: Upload) -> None:
    """Rejects a model whose feature extractor or vocabulary does not match it."""
    if upload.kind != "model":
        return
    folder = upload.folder
    config = read_mapping(folder / "config.json", required=True)
    extractor = read_mapping(folder / "preprocessor_config.json", required=True)
    if extractor.get("feature_extractor_type") == hf_speech.models.SpeechFeatureExtractor.__name__:
        try:
            # The file may declare other sizes than the extractor computes.
            loaded = AutoFeatureExtractor.from_pretrained(folder, trust_remote_code=False)
        except (OSError, ValueError, TypeError) as error:
            reason = " ".join(str(error).split()).rstrip(".")
            raise PublishError(
                f"preprocessor_config.json does not load as a feature extractor ({reason}): save it again."
            ) from error
        extractor |= {"feature_size": loaded.feature_size, "hop_length": loaded.hop_length}
    for config_key, extractor_key, unit in (
        ("input_size", "feature_size", "features per frame"),
        ("hop_length", "hop_length", "samples per frame"),
    ):
        if config_key in config and extractor_key in extractor and config[config_key] != extractor[extractor_key]:
            raise PublishError(
                f"The model expects {config[config_key]} {unit} and the feature extractor gives "
                f"{extractor[extractor_key]}: save the feature extractor that the model was trained with."
            )
    vocabulary = read_mapping(folder / "vocab.json")
    if vocabulary and "vocab_size" in config and len(vocabulary) != config["vocab_size"]:
        raise PublishError(
            f"The model has {config['vocab_size']} tokens and vocab.json has {len(vocabulary)}: save the tokenizer "
            "that the model was trained with."
        )
