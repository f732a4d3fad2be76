"""The models and their feature extractor: remote code, in transformers' words.

`save_pretrained` copies these files beside the weights, and `trust_remote_code=True` runs them on machines without this
package: so the folder is flat, and its files import only torch, numpy, transformers and their siblings. Importing this
package registers the classes twice: with the Auto classes of this process, and as code to copy when saving.
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
