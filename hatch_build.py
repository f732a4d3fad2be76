"""Build hook: installing from a checkout also puts the code of the models in `pretrained/` in place."""

import runpy
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class PretrainedCode(BuildHookInterface):  # type: ignore[type-arg]
    """Runs scripts/pretrained_code.py for an editable install."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it builds."""
        if version == "editable":
            runpy.run_path(str(Path(self.root) / "scripts" / "pretrained_code.py"), run_name="__main__")
