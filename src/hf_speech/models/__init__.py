"""The code that travels to the Hub with every published model.

`save_pretrained` copies these files beside the weights, and a stranger's `trust_remote_code=True` runs them without
this package: so the folder is flat, and its files import only torch, numpy, transformers and their siblings. Importing
this package registers the classes twice: with the Auto classes of this process, and as code to copy when saving.
"""

from __future__ import annotations

from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification, AutoModelForCTC

from .configuration_conv_gru import ConvGRUConfig
from .configuration_speech_lstm import SpeechLSTMConfig
from .feature_extraction_speech import SpeechFeatureExtractor
from .modeling_conv_gru import ConvGRUForCTC
from .modeling_speech_lstm import SpeechLSTMForAudioClassification

for config, auto_class, model in (
    (SpeechLSTMConfig, AutoModelForAudioClassification, SpeechLSTMForAudioClassification),
    (ConvGRUConfig, AutoModelForCTC, ConvGRUForCTC),
):
    AutoConfig.register(config.model_type, config)
    AutoFeatureExtractor.register(config, SpeechFeatureExtractor)
    auto_class.register(config, model)
    config.register_for_auto_class()
    model.register_for_auto_class(auto_class.__name__)
SpeechFeatureExtractor.register_for_auto_class()

__all__ = [
    "ConvGRUConfig",
    "ConvGRUForCTC",
    "SpeechFeatureExtractor",
    "SpeechLSTMConfig",
    "SpeechLSTMForAudioClassification",
]
