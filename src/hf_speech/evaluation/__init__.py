"""Metrics of a saved model on a split, with confidence intervals and the provenance of every number."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
