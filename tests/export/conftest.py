"""Fixtures shared by the export and the ONNX back end."""

from exported_models import *  # noqa: F403
