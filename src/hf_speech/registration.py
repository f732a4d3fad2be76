"""Registers our models with transformers as soon as transformers is imported, and does not import it before.

Whoever imports this package finds its models under the Auto classes, as promised. But PyTorch and transformers take
seconds to import, which `hf-speech --help` does not need, and an exported model runs on machines that have neither.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

LIBRARY = "transformers"
MODELS = "hf_speech.models"  # Importing it registers them.


def register_models() -> None:
    """Registers the models now if transformers has been imported, and else when it is."""
    if LIBRARY in sys.modules:
        import_module(MODELS)
    elif not any(isinstance(finder, _Watcher) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Watcher())


class _Watcher(MetaPathFinder):
    """Finds transformers as the other finders do, and imports our models behind it."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != LIBRARY:
            return None
        others = [finder for finder in sys.meta_path if finder is not self]
        spec = next((spec for finder in others if (spec := finder.find_spec(fullname, path, target))), None)
        if spec is None or spec.loader is None:
            return spec
        loader, execute = spec.loader, spec.loader.exec_module

        def execute_and_register(module: ModuleType) -> None:
            del loader.exec_module  # What was set below; the class has the other one.
            execute(module)
            if self in sys.meta_path:
                sys.meta_path.remove(self)
            import_module(MODELS)

        # On the object, so that the loader remains what it is for whoever asks it for files.
        loader.exec_module = execute_and_register  # type: ignore[method-assign]
        return spec
