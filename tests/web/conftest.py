"""The fixtures of exported models."""

from exported_models import *  # noqa: F403
