"""The image of the Dockerfile: installed packages and copied files."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import tomllib
from importlib.metadata import distribution, packages_distributions
from pathlib import Path
from typing import Any

import soundfile
from exported_models import *  # noqa: F403
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

REPOSITORY = Path(__file__).resolve().parents[1]
DOCKERFILE = (REPOSITORY / "Dockerfile").read_text(encoding="utf-8")
# Serves a sound while modules of any other package cannot be imported.
SERVE = """
import importlib.abc, json, sys
forbidden, model, sound = set(json.loads(sys.argv[1])), sys.argv[2], sys.argv[3]
class Missing(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in forbidden:
            raise ModuleNotFoundError(f"{name} is not in the image")
sys.meta_path.insert(0, Missing())
import anyio
import hf_speech.cli.serve
from hf_speech.cli.process import prepare_inference
from hf_speech.serve import Service, create_app
prepare_inference()
service = Service(model)
create_app(service)
samples = open(sound, "rb").read()
live = anyio.run(service.accept, service.listen(8000, "f32"), samples[-8000:], True)
print(json.dumps([anyio.run(service.transcribe, samples)[0].text, live]))
"""


def installed_packages() -> list[str]:
    (listed,) = re.findall(r"constraints\.txt \\\n(.*?) \\\n", DOCKERFILE, re.DOTALL)
    return str(listed).split()


def with_dependencies(names: list[str]) -> set[str]:
    """Returns packages and their requirements, without extras."""
    found: set[str] = set()
    waiting = [canonicalize_name(name) for name in names]
    while waiting:
        name = waiting.pop()
        if name in found:
            continue
        found.add(name)
        for line in distribution(name).requires or []:
            requirement = Requirement(line)
            if requirement.marker is None or requirement.marker.evaluate({"extra": ""}):
                waiting.append(canonicalize_name(requirement.name))
    return found


def test_its_packages_serve_an_exported_model(exported_beeps: Path, make_beeps: Any, tmp_path: Path) -> None:
    constraints = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pinned = {canonicalize_name(line.partition("==")[0]) for line in constraints}
    names = installed_packages()
    assert {canonicalize_name(name) for name in names} <= pinned
    there = with_dependencies(names)
    forbidden = [
        module
        for module, packages in packages_distributions().items()
        if not there & {canonicalize_name(package) for package in packages} and module != "hf_speech"
    ]
    assert {"torch", "transformers", "datasets"} <= set(forbidden)
    soundfile.write(tmp_path / "sound.wav", make_beeps("ab c"), 8000, subtype="FLOAT")
    words = [sys.executable, "-c", SERVE, json.dumps(forbidden), str(exported_beeps), str(tmp_path / "sound.wav")]
    finished = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert finished.returncode == 0, finished.stderr
    assert json.loads(finished.stdout.splitlines()[-1])[0] == "ab c"


def test_the_files_of_the_package_are_not_ignored() -> None:
    allowed = {line[1:] for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    wheel = project["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {"pyproject.toml", "constraints.txt", "hatch_build.py", project["project"]["readme"], *wheel["packages"]}
    needed |= {*project["project"]["license-files"], *wheel["force-include"]}
    assert {name.partition("/")[0] for name in needed} == allowed
    assert all((REPOSITORY / name).exists() for name in allowed)
