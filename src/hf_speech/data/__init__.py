"""Data loading: corpora, audio reading, inspection, augmentation and batches.

Names are imported on first use: reading sound alone does not import the corpora's libraries.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
