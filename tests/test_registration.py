"""Side effects of importing the package."""

from __future__ import annotations

import subprocess
import sys

HEAVY = "{'torch', 'transformers', 'datasets'}"

LIGHT = f"""
import sys
import hf_speech, hf_speech.cli.app
assert not {HEAVY} & set(sys.modules), "importing the package imports a large library"
assert not any(type(finder).__module__.startswith("hf_speech") for finder in sys.meta_path)
from transformers import AutoConfig, AutoModel, AutoModelForAudioClassification
from hf_speech import ConvGRUConfig, ConvGRUEncoder, SpeechLSTMForAudioClassification
config = AutoConfig.for_model("conv_gru", input_size=8, channels=4, hidden_size=4, vocab_size=3)
assert type(config) is ConvGRUConfig
assert type(AutoModel.from_config(config)) is ConvGRUEncoder
config = AutoConfig.for_model("speech_lstm", input_size=8, hidden_size=4)
assert type(AutoModelForAudioClassification.from_config(config)) is SpeechLSTMForAudioClassification
"""

AFTER_TRANSFORMERS = """
import transformers
import hf_speech
assert type(transformers.AutoConfig.for_model("conv_gru")) is hf_speech.ConvGRUConfig
assert transformers.AutoConfig.for_model("speech_lstm").model_type == "speech_lstm"
"""


def run(code: str) -> None:
    finished = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr[-2000:]


def test_imports_are_light_and_a_model_class_registers_all_models() -> None:
    run(LIGHT)


def test_package_imported_after_transformers_registers_the_models_at_once() -> None:
    run(AFTER_TRANSFORMERS)
