"""The fixtures that the export and the ONNX back end share."""

from exported_models import *  # noqa: F403
