"""The code that travels to the Hub with every published model.

`save_pretrained` copies these files beside the weights, and a stranger's `trust_remote_code=True` runs them without
this package: so the folder is flat, and its files import only torch, numpy, transformers and their siblings. Importing
this package registers the classes twice: with the Auto classes of this process, and as code to copy when saving.
"""

from __future__ import annotations

from transformers import AutoConfig, AutoFeatureExtractor, AutoModelForAudioClassification

from .configuration_speech_lstm import SpeechLSTMConfig
from .feature_extraction_speech import SpeechFeatureExtractor
from .modeling_speech_lstm import SpeechLSTMForAudioClassification

AutoConfig.register(SpeechLSTMConfig.model_type, SpeechLSTMConfig)
AutoFeatureExtractor.register(SpeechLSTMConfig, SpeechFeatureExtractor)
AutoModelForAudioClassification.register(SpeechLSTMConfig, SpeechLSTMForAudioClassification)

SpeechLSTMConfig.register_for_auto_class()
SpeechFeatureExtractor.register_for_auto_class("AutoFeatureExtractor")
SpeechLSTMForAudioClassification.register_for_auto_class("AutoModelForAudioClassification")

__all__ = ["SpeechFeatureExtractor", "SpeechLSTMConfig", "SpeechLSTMForAudioClassification"]
