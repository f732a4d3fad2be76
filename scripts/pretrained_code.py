#!/usr/bin/env python
"""Copy the remote code of each model in `pretrained/` from `src/hf_speech/models/`, so that transformers can load it.

Git tracks that code only in the package and ignores the copies. Installing from a checkout, `make train` and the tests
run this script. A folder gets only the modules that its `auto_map`s name and the modules that those import.

    python scripts/pretrained_code.py
"""

import json
import re
import shutil
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
CODE = REPOSITORY / "src" / "hf_speech" / "models"
SIBLING = re.compile(r"^\s*from \.(\w+) import", re.MULTILINE)


def needed_modules(folder: Path, code: Path = CODE) -> set[str]:
    """Returns the names of the modules that a model folder needs, found in the same way as in transformers."""
    pending: list[str] = []
    for config in folder.glob("*config.json"):
        references = json.loads(config.read_text(encoding="utf-8")).get("auto_map", {}).values()
        pending += [reference.partition(".")[0] for reference in references]
    found: set[str] = set()
    while pending:
        if (module := pending.pop()) not in found:
            found.add(module)
            pending += SIBLING.findall((code / f"{module}.py").read_text(encoding="utf-8"))
    return found


def copy_code(pretrained: Path = REPOSITORY / "pretrained", code: Path = CODE) -> None:
    """Updates the code of every model folder, and removes modules that it no longer needs."""
    for config in pretrained.glob("*/config.json"):
        names = {f"{module}.py" for module in needed_modules(config.parent, code)}
        for stale in {path.name for path in config.parent.glob("*.py")} - names:
            (config.parent / stale).unlink()
        for name in names:
            target, content = config.parent / name, (code / name).read_bytes()
            if not target.is_file() or target.read_bytes() != content:
                partial = target.with_suffix(".partial")
                partial.write_bytes(content)
                shutil.move(partial, target)


if __name__ == "__main__":
    copy_code()
