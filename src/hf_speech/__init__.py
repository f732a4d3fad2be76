"""Small speech models on the Hugging Face stack: a recipe goes in, a published model comes out.

Importing this package registers its models with transformers' Auto classes, as soon as transformers is imported. All
else is imported when it is first asked for: loading a model needs no training, and an exported model no PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from hf_speech.errors import AudioError, CorpusError, HFSpeechError, ModelError, PublishError, RecipeError
from hf_speech.registration import register_models

if TYPE_CHECKING:
    from hf_speech.data import read_audio
    from hf_speech.evaluation import evaluate_model, load_model
    from hf_speech.models import (
        ConvGRUConfig,
        ConvGRUForCTC,
        SpeechFeatureExtractor,
        SpeechLSTMConfig,
        SpeechLSTMForAudioClassification,
    )
    from hf_speech.training import load_recipe, train

try:
    __version__ = version("hf_speech")
except PackageNotFoundError:  # Run from a folder that was never installed.
    __version__ = "0"

register_models()

_LAZY = {
    "ConvGRUConfig": "hf_speech.models",
    "ConvGRUForCTC": "hf_speech.models",
    "SpeechFeatureExtractor": "hf_speech.models",
    "SpeechLSTMConfig": "hf_speech.models",
    "SpeechLSTMForAudioClassification": "hf_speech.models",
    "evaluate_model": "hf_speech.evaluation",
    "load_model": "hf_speech.evaluation",
    "load_recipe": "hf_speech.training",
    "read_audio": "hf_speech.data",
    "train": "hf_speech.training",
}


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'hf_speech' has no attribute {name!r}")
    return getattr(import_module(_LAZY[name]), name)


__all__ = [
    "AudioError",
    "ConvGRUConfig",
    "ConvGRUForCTC",
    "CorpusError",
    "HFSpeechError",
    "ModelError",
    "PublishError",
    "RecipeError",
    "SpeechFeatureExtractor",
    "SpeechLSTMConfig",
    "SpeechLSTMForAudioClassification",
    "evaluate_model",
    "load_model",
    "load_recipe",
    "read_audio",
    "train",
]
