"""The settings of a Space, from environment variables.

| variable | |
|---|---|
| MODEL_ID | a model folder or a model on the Hub (`owner/name`); by default, the folder `model` beside `app.py` |
| MODEL_REVISION | the commit of a model on the Hub; branches are rejected, because the model's code is run |
| TITLE | the title of the page; by default, the name of the model |
| CORPUS | the training corpus; by default, as in the model's card or recipe |
| MAX_SECONDS, MAX_MEGABYTES | the longest sound and the largest upload |
| KEEP_SECONDS | uploads are erased after this time, and when their page is closed |
| CONCURRENCY | the number of sounds that are processed at a time; others wait in the queue |
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# gradio and torch read these when they are imported. Analytics are off, small recurrent models are fastest on one
# thread, and gradio's requests to itself must not go through a proxy.
os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")
os.environ.setdefault("OMP_NUM_THREADS", "1")
for _variable in ("NO_PROXY", "no_proxy"):
    os.environ[_variable] = ",".join(filter(None, (os.environ.get(_variable), "localhost,127.0.0.1,0.0.0.0,::1")))

COMMON = Path(__file__).resolve().parent
COMMIT = re.compile(r"[0-9a-f]{40}")
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
# Excludes pickles, because loading one runs code.
MODEL_FILES = ["*.json", "*.py", "*.safetensors", "*.txt", "language_model.*", "recipe.yaml", "README.md"]


class SettingsError(ValueError):
    """Raised if the Space cannot start with its environment; the message is one sentence with the remedy."""


def space_folder() -> Path:
    """Returns the folder of the running program, `app.py`."""
    program = getattr(sys.modules["__main__"], "__file__", None)
    return Path(program).resolve().parent if program else COMMON


@dataclass(frozen=True)
class Settings:
    """The validated settings; see the table above."""

    model_id: str
    revision: str | None = None
    title: str | None = None
    corpus: str | None = None
    max_seconds: float = 300.0
    max_megabytes: float = 30.0
    keep_seconds: int = 300
    concurrency: int = 2

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> Settings:
        """Reads the settings from environment variables.

        Raises:
            SettingsError: If there is no model, or a number is not positive.
        """
        model_id = environment.get("MODEL_ID", "").strip()
        if not model_id:
            folder = space_folder() / "model"
            if not (folder / "config.json").is_file():
                raise SettingsError("No model: set MODEL_ID to a model folder or a Hub id (owner/name).")
            model_id = str(folder)
        values: dict[str, Any] = {}
        for name, convert in (
            ("max_seconds", float),
            ("max_megabytes", float),
            ("keep_seconds", int),
            ("concurrency", int),
        ):
            text = environment.get(name.upper(), "").strip()
            if text:
                try:
                    values[name] = convert(text)
                except ValueError:
                    values[name] = 0
                if not 0 < values[name] < 1e9:
                    raise SettingsError(f"{name.upper()} is {text!r}: give a number above 0.")
        names = ("MODEL_REVISION", "TITLE", "CORPUS")
        texts = [environment.get(name, "").strip() or None for name in names]
        return cls(model_id, *texts, **values)

    def model_folder(self) -> Path:
        """Returns the folder of the model, downloading it from the Hub if necessary.

        Raises:
            SettingsError: If the model does not exist, or its revision is not a commit.
        """
        folder = Path(self.model_id).expanduser()
        if folder.is_dir():
            return folder.resolve()
        if not HUB_ID.fullmatch(self.model_id):
            raise SettingsError(f"There is no model folder {self.model_id}: check MODEL_ID.")
        if not COMMIT.fullmatch(self.revision or ""):
            raise SettingsError(
                f"MODEL_REVISION must be the commit of {self.model_id} (40 hexadecimal digits) and not "
                f"{self.revision!r}, because the model's code is run."
            )
        from huggingface_hub import snapshot_download

        try:
            return Path(snapshot_download(self.model_id, revision=self.revision, allow_patterns=MODEL_FILES))
        except (OSError, ValueError) as error:
            raise SettingsError(
                f"{self.model_id} cannot be downloaded from the Hub ({str(error).splitlines()[0]}): check name, "
                "commit and network."
            ) from error

    @property
    def is_local(self) -> bool:
        """Whether the model is a local folder."""
        return Path(self.model_id).expanduser().is_dir()

    @property
    def model_name(self) -> str:
        """The name of the model on the page; never a path of the server."""
        return Path(self.model_id).expanduser().resolve().name if self.is_local else self.model_id
