"""A saved model at work: loading, predicting, long recordings, transcripts; with PyTorch or with onnxruntime.

Names are imported on first use: transcribing with an exported model needs neither PyTorch nor transformers.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
