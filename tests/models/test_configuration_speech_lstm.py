from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig

from hf_speech.models import SpeechLSTMConfig


def test_round_trip(tmp_path: Path) -> None:
    config = SpeechLSTMConfig(hidden_size=12, pooling="mean", head_sizes=[7], num_labels=3, class_weights=[1, 2.5, 1])
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert type(loaded) is SpeechLSTMConfig
    assert loaded.to_diff_dict() == config.to_diff_dict()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"hidden_size": "a"}, "hidden_size"),
        ({"hidden_size": 0}, "between 1 and 65,536"),
        ({"num_hidden_layers": 10**9}, "between 1 and 256"),
        ({"head_sizes": [8] * 257}, "at most 256 layers, and 257 are listed"),
        ({"pooling": "sum"}, "pooling"),
        ({"subsampling": 3}, "subsampling"),
        ({"stem_channels": [8, 0]}, "between 1 and 4,096, and 0"),
        ({"stem_channels": [4097]}, "between 1 and 4,096, and 4097"),
        ({"stem_channels": [8] * 17}, "must list 1 to 16 convolutions"),
        ({"stem_channels": [8], "subsampling": 4}, "at least 2 to shorten time by 4: it lists 1"),
        ({"stem_channels": [8], "projection_size": 8}, "which features_as_steps and projection_size do not leave"),
        ({"stem_channels": [8], "input_size": 11, "num_deltas": 1}, "a multiple of 2 for features with 1 deltas"),
        ({"dropout": 1.5}, "dropout"),
        ({"frontend": "residual"}, "does not suit SpeechLSTMConfig, which has no channels"),
        ({"frontend": "strided"}, "set subsampling to 2 or 4"),
        ({"frontend": "spectral"}, "needs stem_channels"),
        ({"mixup_alpha": -1}, "mixup_alpha must lie between 0 and 1,000"),
        ({"mixup_probability": 1.5}, "mixup_probability must lie between 0 and 1"),
        ({"feature_noise": float("inf")}, "feature_noise must lie between 0 and 1,000"),
        ({"frequency_mask_width": -2}, "frequency_mask_width must lie between 0"),
        ({"num_labels": 2, "class_weights": [1.0, -1.0]}, "class_weights must lie between 0"),
        ({"num_labels": 2, "class_weights": [1.0]}, "1 weights for 2 classes"),
    ],
)
def test_rejects_impossible_values(arguments: dict[str, object], message: str) -> None:
    with pytest.raises(StrictDataclassError, match=message):
        SpeechLSTMConfig(**arguments)
