"""The models and their feature extractor, which are published as remote code.

`save_pretrained` copies these files next to the weights, and `trust_remote_code=True` runs them on machines without
this package. The folder is therefore flat, and its files import only torch, numpy, transformers and each other.
Importing this package registers the classes with the Auto classes, and as custom code to copy when a model is saved.
"""

from __future__ import annotations

from transformers import (
    AutoConfig,
    AutoFeatureExtractor,
    AutoModel,
    AutoModelForAudioClassification,
    AutoModelForAudioFrameClassification,
    AutoModelForCTC,
    AutoProcessor,
)

from .configuration_conv_gru import ConvGRUConfig
from .configuration_speech_lstm import SpeechLSTMConfig
from .feature_extraction_speech import SpeechFeatureExtractor
from .modeling_conv_gru import ConvGRUEncoder, ConvGRUForCTC
from .modeling_keyword_spotting import ConvGRUForKeywordSpotting
from .modeling_speech_lstm import SpeechLSTMEncoder, SpeechLSTMForAudioClassification
from .processing_speech import SpeechProcessor

for config, encoder, auto_class, model in (
    (SpeechLSTMConfig, SpeechLSTMEncoder, AutoModelForAudioClassification, SpeechLSTMForAudioClassification),
    (ConvGRUConfig, ConvGRUEncoder, AutoModelForCTC, ConvGRUForCTC),
):
    AutoConfig.register(config.model_type, config)
    AutoFeatureExtractor.register(config, SpeechFeatureExtractor)
    AutoModel.register(config, encoder)
    auto_class.register(config, model)
    config.register_for_auto_class()
    encoder.register_for_auto_class("AutoModel")
    model.register_for_auto_class(auto_class.__name__)
AutoModelForAudioFrameClassification.register(ConvGRUConfig, ConvGRUForKeywordSpotting)
ConvGRUForKeywordSpotting.register_for_auto_class("AutoModelForAudioFrameClassification")
AutoProcessor.register(ConvGRUConfig, SpeechProcessor)
SpeechFeatureExtractor.register_for_auto_class()
SpeechProcessor.register_for_auto_class()

__all__ = [
    "ConvGRUConfig",
    "ConvGRUEncoder",
    "ConvGRUForCTC",
    "ConvGRUForKeywordSpotting",
    "SpeechFeatureExtractor",
    "SpeechLSTMConfig",
    "SpeechLSTMEncoder",
    "SpeechLSTMForAudioClassification",
    "SpeechProcessor",
]
