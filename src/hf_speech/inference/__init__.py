"""Running saved models with PyTorch or onnxruntime: loading, prediction, long recordings, transcription.

Names are imported on first use: transcribing with an exported model needs neither PyTorch nor transformers.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
