"""Trains, evaluates and publishes small speech models on the Hugging Face stack.

Importing a model class, or this package after transformers, registers the models with transformers' Auto classes.
Everything else is imported on first use: loading a model imports no training code, and an exported model no PyTorch.
"""

from __future__ import annotations

import sys

import lazy_loader

__version__ = "0.2.0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

if "transformers" in sys.modules:
    import hf_speech.models  # noqa: F401 - registers the models
