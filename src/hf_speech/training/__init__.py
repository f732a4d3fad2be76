"""Training: recipes, the Trainer for short utterances, and the steps from a recipe to a run folder.

Names are imported on first use, so that the command-line help lists the options without importing PyTorch.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
