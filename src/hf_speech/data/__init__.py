"""Data loading: corpora, audio reading, inspection, augmentation and batches.

Names are imported on first use, so that reading audio does not import the libraries of the corpora.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
