"""Small speech models on the Hugging Face stack: a recipe goes in, a published model comes out.

Importing this package registers its models with transformers' Auto classes, as soon as transformers is imported. All
else is imported when it is first asked for: loading a model needs no training, and an exported model no PyTorch.
"""

from __future__ import annotations

import lazy_loader

from hf_speech.registration import register_models

__version__ = "0.2.0"

register_models()

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
