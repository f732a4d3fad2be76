#!/usr/bin/env python
"""Print the oldest supported versions as constraints for pip: `>=` in pyproject.toml becomes `==`.

python scripts/minimum_versions.py > build/minimum.txt
"""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

TOOLS = ("dev", "docs")  # Extras that users do not install.
PYPROJECT = Path(__file__).resolve().parents[1] / "pyproject.toml"


def minimum_versions(project: dict[str, Any]) -> list[str]:
    """Returns the constraints for the dependencies of a project and its extras for users.

    Args:
        project: The table `project` of pyproject.toml.

    Returns:
        Lines such as `numpy==2.0`, with the dependency's marker if any. Dependencies without a minimum are left out.
    """
    extras = [texts for extra, texts in project.get("optional-dependencies", {}).items() if extra not in TOOLS]
    lines = []
    for text in (*project["dependencies"], *(text for extra in extras for text in extra)):
        requirement = Requirement(text)
        minimum = [spec.version for spec in requirement.specifier if spec.operator == ">="]
        if minimum:
            marker = f"; {requirement.marker}" if requirement.marker else ""
            lines.append(f"{requirement.name}=={minimum[0]}{marker}")
    return sorted(set(lines), key=str.lower)


if __name__ == "__main__":
    print("\n".join(minimum_versions(tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["project"])))
