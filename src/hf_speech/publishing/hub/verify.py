"""Downloads a published model and verifies that it gives the published logits in a clean process.

- Verification applies to a commit: a branch or tag is resolved first, and the result names the sha.
- All files are downloaded into an empty cache and compared with the Hub's checksums before any code runs;
  huggingface_hub itself compares only sizes.
- `pipeline(task, model=NAME, revision=SHA, trust_remote_code=True)` loads the model in a new process that is offline
  and cannot import hf_speech, so that only the code of the commit runs.
- The code runs only if it is this package's own or the caller trusts it.
- The probe clips must give the published logits, alone and in a batch.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from huggingface_hub import constants, snapshot_download
from safetensors.numpy import load_file

from hf_speech.common.hub import Kind, Repository, State, local_files
from hf_speech.errors import PublishError
from hf_speech.publishing.card.review import check_card
from hf_speech.publishing.checks.remote_code import foreign_code, remote_files
from hf_speech.publishing.checks.structure import read_mapping, read_metadata
from hf_speech.publishing.hub.probes import PROBE_FILE, TOLERANCE, Probes

_ISOLATED_LOAD = Path(__file__).with_name("isolated_load.py")
_SECONDS = 600


@dataclass(frozen=True)
class RemoteSnapshot:
    """A complete download of a commit, with matching checksums.

    Attributes:
        repository: The repository.
        state: The repository at that commit.
        folder: The folder with the files.
        home: The HF_HOME of the download, which was empty before.
    """

    repository: Repository
    state: State
    folder: Path
    home: Path


@dataclass(frozen=True)
class Verification:
    """The result of a verification.

    Attributes:
        repository: The repository.
        commit: The commit that was verified.
        found: The checks that passed, a clause each.
        differences: The differences found, a clause each; empty if all checks passed.
        answers: For a model, the predictions of `pipeline(...)` by probe clip.
    """

    repository: Repository
    commit: str
    found: tuple[str, ...]
    differences: tuple[str, ...] = ()
    answers: dict[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether all checks passed."""
        return not self.differences

    def summary(self) -> str:
        """Returns one line for the terminal, or a heading and one line for each difference."""
        name = f"{self.repository.name}@{self.commit}"
        if not self.ok:
            return "\n".join([f"DIFFERS {name}:", *(f"  {difference}" for difference in self.differences)])
        return f"OK {name}: {'; '.join(self.found)}"


@contextmanager
def downloaded(name: str, revision: str | None = None, kind: Kind = "model") -> Iterator[RemoteSnapshot]:
    """Downloads a commit into a temporary cache, which is deleted at the end of the context.

    Raises:
        PublishError: If the commit does not exist or cannot be downloaded, or a file has another checksum.
    """
    repository = Repository(name, kind)
    state = repository.fetch_state(revision)
    if state is None:
        raise PublishError(
            f"There is no {repository.description.removeprefix('the ')} that this login can access: check the name and "
            "the login."
        )
    with tempfile.TemporaryDirectory(prefix="hf-speech-verify-") as temporary:
        home = Path(temporary)
        with repository.readable_errors():
            folder = snapshot_download(name, repo_type=kind, revision=state.commit, cache_dir=home / "hub")
        arrived = local_files(Path(folder))
        damaged = [
            path for path, listed in state.files.items() if path not in arrived or not arrived[path].match(listed)
        ]
        if damaged:
            raise PublishError(
                f"The download of {', '.join(damaged[:3])} of {name} has another checksum than the Hub lists: run the "
                "command again; if it happens again, publish the file again."
            )
        yield RemoteSnapshot(repository, state, Path(folder), home)


def verify_model(snapshot: RemoteSnapshot, *, trust_code: bool = False, against: Probes | None = None) -> Verification:
    """Loads a downloaded model without hf_speech and compares its logits.

    Args:
        snapshot: The download.
        trust_code: Whether to run code that is not this package's own.
        against: The expected logits; None for those published with the model.

    Raises:
        PublishError: If the model has no probe clips, has code that is not trusted, or cannot be loaded.
    """
    probes = against
    if probes is None:
        if PROBE_FILE not in snapshot.state.files:
            raise PublishError(
                f"{snapshot.repository.name} has no probe clips ({PROBE_FILE}): compare it with a run folder with "
                "--run_dir, or publish it with hf-speech publish."
            )
        probes = Probes.load(snapshot.folder / PROBE_FILE)
    if not trust_code and (foreign := foreign_code(snapshot.folder)):
        raise PublishError(
            f"{snapshot.repository.name} has code that differs from this version of hf_speech "
            f"({', '.join(foreign)}): review it, then pass --trust_remote_code to run it."
        )
    try:
        remote_files(snapshot.folder)
    except PublishError as error:
        raise PublishError(str(error).replace(str(snapshot.folder), snapshot.repository.name)) from error
    logits, answers = load_isolated(snapshot, probes)
    found = [f"{len(snapshot.state.files)} files match the Hub's checksums", "loads without hf_speech"]
    differences = list(probes.differences(logits))
    if not differences:
        largest = probes.largest_difference(logits)
        found.append(f"{len(probes.clips)} probe clips give the same logits (largest difference {largest:.1g})")
    if answers["padding"] > TOLERANCE:
        differences.append(f"a clip in a batch differs from the clip alone by up to {answers['padding']:.2g}")
    if local := [module for module in answers["code"] if module.startswith("hf_speech")]:
        differences.append(f"the installed hf_speech ran instead of the published code ({local[0]})")
    return Verification(
        snapshot.repository, snapshot.state.commit, tuple(found), tuple(differences), answers["pipeline"]
    )


def load_isolated(snapshot: RemoteSnapshot, probes: Probes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Runs the clips in a process without hf_speech.

    Returns:
        The logits by name of the clip, and `{"pipeline", "padding", "code"}`.
    """
    work = snapshot.home / "work"
    work.mkdir()
    (work / "probes.safetensors").write_bytes(probes.to_bytes())
    request = {
        "model": snapshot.repository.name,
        "revision": snapshot.state.commit,
        "task": _task(snapshot),
        "probes": "probes.safetensors",
    }
    (work / "request.json").write_text(json.dumps(request), encoding="utf-8")
    try:
        finished = subprocess.run(
            [sys.executable, "-P", str(_ISOLATED_LOAD), "request.json"],
            cwd=work,
            env=_environment(snapshot.home),
            capture_output=True,
            text=True,
            timeout=_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise PublishError(f"{snapshot.repository.name} did not finish within {_SECONDS} s: try again.") from error
    if finished.returncode:
        reason = (finished.stderr.strip().splitlines() or ["it ended without a message"])[-1][:300]
        raise PublishError(
            f"{snapshot.repository.name}@{snapshot.state.commit[:8]} cannot be loaded without hf_speech ({reason}): "
            "correct the model and publish it again."
        )
    answers: dict[str, Any] = json.loads((work / "answers.json").read_text(encoding="utf-8"))
    return load_file(work / "logits.safetensors"), answers


def verify_metrics(snapshot: RemoteSnapshot, measured: Mapping[str, Any]) -> Verification:
    """Compares a new evaluation with a model's evaluation files, and these files with its card.

    Raises:
        PublishError: If the model has no evaluation of this corpus and split.
    """
    name = f"{measured.get('corpus')}, {measured.get('split')}"
    files = sorted(snapshot.folder.glob("evaluation/*.json"))
    contents = {file.name: read_mapping(file) for file in files}
    matching = [
        file
        for file, content in contents.items()
        if not content.get("decoder") and all(content.get(key) == measured.get(key) for key in ("corpus", "split"))
    ]
    if not matching:
        raise PublishError(
            f"{snapshot.repository.name} has no evaluation of {name}: choose a corpus and split that it has."
        )
    differences = compare_metrics(contents[matching[0]], measured)
    try:
        check_card((snapshot.folder / "README.md").read_text(encoding="utf-8"), snapshot.folder)
    except PublishError as error:
        differences.append(str(error).rstrip("."))
    metrics = ", ".join(f"{metric} {value:.4g}" for metric, value in measured["metrics"].items())
    found = (f"evaluated again on {name}: {metrics}", f"as in evaluation/{matching[0]} and on the card")
    return Verification(snapshot.repository, snapshot.state.commit, found, tuple(differences))


def compare_metrics(published: Mapping[str, Any], measured: Mapping[str, Any]) -> list[str]:
    """Returns the differences between a new evaluation and the published one, a clause each."""
    name = f"{published.get('corpus')}, {published.get('split')}"
    differences = []
    if published.get("corpus_fingerprint") != measured.get("corpus_fingerprint"):
        differences.append(f"{name}: the recordings or references differ from those of the published evaluation")
    if published.get("num_utterances") != measured.get("num_utterances"):
        counts = f"{measured.get('num_utterances')} utterances instead of {published.get('num_utterances')}"
        differences.append(f"{name}: {counts}")
    for metric, value in published.get("metrics", {}).items():
        found = measured.get("metrics", {}).get(metric)
        if found is None or not math.isclose(found, value, rel_tol=1e-6, abs_tol=1e-9):
            differences.append(f"{name}: {metric} is {found} instead of {value}")
    return differences


def _task(snapshot: RemoteSnapshot) -> str:
    """Reads the task of the pipeline from the card."""
    card = snapshot.folder / "README.md"
    text = card.read_text(encoding="utf-8", errors="replace") if card.is_file() else ""
    task = read_metadata(text).get("pipeline_tag")
    if not task:
        raise PublishError(f"The card of {snapshot.repository.name} has no pipeline_tag: publish it again.")
    return str(task)


def _environment(home: Path) -> dict[str, str]:
    """Returns the environment for an offline process with the download as its cache and without tokens."""
    removed = ("HF_", "HUGGING", "TRANSFORMERS_", "PYTHONPATH")
    return {name: value for name, value in os.environ.items() if not name.startswith(removed)} | {
        "HF_HOME": str(home),
        "HF_HUB_OFFLINE": "1",
        "HF_ENDPOINT": constants.ENDPOINT,
        "HF_HUB_DISABLE_TELEMETRY": "1",
        "OMP_NUM_THREADS": "1",
    }
