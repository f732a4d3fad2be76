"""Runs saved models with PyTorch or onnxruntime: loading, prediction, long recordings, transcription.

Names are imported on first use, so exported models run without importing PyTorch and transformers.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
