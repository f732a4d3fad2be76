"""Reasons to reject a folder, one per test."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.publishing.staging_calls import TOKEN, refused

Plant = Callable[[Path], object]


def plant_pickle(name: str) -> Plant:
    return lambda run: (run / name).write_bytes(pickle.dumps({"a": 1}))


def plant_text(name: str, text: str) -> Plant:
    return lambda run: (run / name).write_text(text)


def edit(name: str, before: str, after: str) -> Plant:
    def change(run: Path) -> None:
        text = (run / name).read_text()
        assert before in text, f"{name} has no {before}"
        (run / name).write_text(text.replace(before, after, 1))

    return change


def extractor_of_another_size(run: Path) -> None:
    """With evaluations without a fingerprint, which would detect any other extractor."""
    edit("preprocessor_config.json", '"num_mel_bins": ', '"num_mel_bins": 1')(run)  # 40 becomes 140.
    for path in (run / "evaluation").glob("*.json"):
        report = json.loads(path.read_text())
        report.pop("model_fingerprint", None)
        path.write_text(json.dumps(report))


def add(name: str, text: str) -> Plant:
    return lambda run: (run / name).write_text((run / name).read_text() + text)


def link(name: str, target: str) -> Plant:
    def make(run: Path) -> None:
        (run / name).unlink(missing_ok=True)
        (run / name).symlink_to(target)

    return make


CULPRITS: dict[str, tuple[Plant, str]] = {
    # pickles and programs, beside the run and under the names of its own files
    "training_args.bin": (plant_pickle("training_args.bin"), r"training_args\.bin is a pickle"),
    "pytorch_model.bin": (plant_text("pytorch_model.bin", "?"), r"pytorch_model\.bin is a pickle by its name"),
    "pickle without a suffix": (plant_pickle("data"), r"data is a pickle.* delete it, or move it out of"),
    "pickle called weights": (
        plant_pickle("model.safetensors"),
        r"model\.safetensors is a(?: pickle| not)|other weights",
    ),
    "pickle called picture": (plant_pickle("curves.png"), r"curves\.png is a pickle"),
    "pickle called table": (plant_pickle("evaluation/test.csv"), r"evaluation/test\.csv is a pickle"),
    "pickle called vocabulary": (plant_pickle("vocab.json"), r"vocab\.json is (a pickle|not JSON)"),
    "program": (lambda run: (run / "tool").write_bytes(b"\x7fELF" + bytes(60)), "tool is a program"),
    "YAML that makes objects": (add("recipe.yaml", "x: !!python/object:os.PathLike {}\n"), r"recipe\.yaml"),
    # secrets
    ".env": (plant_text(".env", "A=1"), r"\.env has a name typical of files with passwords"),
    "token in the recipe": (add("recipe.yaml", f"# {TOKEN}\n"), r"recipe\.yaml, line \d+, has a Hugging Face token"),
    "token in the code": (add("recurrent.py", f"# {TOKEN}\n"), r"recurrent\.py, line \d+, has a Hugging Face token"),
    "token in a table": (add("evaluation/test.csv", f"{TOKEN}\n"), r"evaluation/test\.csv, line \d+, has a Hugging"),
    "token in a command": (
        edit("training.json", '"command": "', f'"command": "HF_TOKEN={TOKEN} '),
        r"training\.json, line 3, has a Hugging Face token",
    ),
    "token shown on the card": (
        edit("evaluation/test.json", '"command": "', f'"command": "--token {TOKEN} '),
        r"evaluation/test\.json, line \d+, has a Hugging Face token",
    ),
    # local paths, links, license, sizes
    "place in the code": (add("recurrent.py", "# /home/anna/x\n"), r"recurrent\.py, line \d+, names /home/anna/x"),
    "place in a configuration": (
        edit("config.json", '"dtype"', '"_name_or_path": "/home/anna/run", "dtype"'),
        r"config\.json, line \d+, names /home/anna/run",
    ),
    "place in a table": (
        edit("evaluation/test.csv", "0_george_0.wav", "/data/x/0.wav"),
        r"test\.csv, line 2, names /data",
    ),
    "link out of the folder": (link("curves.png", "/etc/hostname"), r"curves\.png is a link that leaves"),
    "folder linked from elsewhere": (link("more", "/etc"), "more is a link to a folder"),
    "link to nothing": (link("curves.png", "nothing"), r"curves\.png is a broken or circular link"),
    "empty license": (plant_text("LICENSE", ""), "LICENSE is empty"),
    # code
    "import of this package": (
        add("recurrent.py", "import hf_speech\n"),
        r"recurrent\.py imports hf_speech \(line \d+\)",
    ),
    "import from above": (add("recurrent.py", "from ..x import y\n"), r"reaches outside the folder"),
    "import of a module by a dot": (
        add("recurrent.py", "from . import spectral\n"),
        r"which transformers does not detect",
    ),
    "import from a subfolder": (add("recurrent.py", "from .sub.x import y\n"), r"reaches into a subfolder"),
    "import of a missing sibling": (add("recurrent.py", "from .gone import y\n"), r"needs gone\.py, which"),
    "import of a sibling as installed": (
        add("recurrent.py", "import spectral\n"),
        r"its sibling spectral as an installed package",
    ),
    "import of what is not listed": (
        add("recurrent.py", "def f():\n    from scipy.signal import lfilter\n"),
        r"recurrent\.py imports scipy \(line \d+\), which the card's requirements do not list",
    ),
    "code elsewhere": (
        edit("config.json", '"modeling_speech_lstm.Sp', '"bob/code--modeling_speech_lstm.Sp'),
        r"takes its code from another repository \(bob/code\)",
    ),
    "code not named": (edit("config.json", '"auto_map"', '"auto_maps"'), r"has no auto_map"),
    "code gone": (lambda run: (run / "recurrent.py").unlink(), r"needs recurrent\.py, which .* does not contain"),
    # mismatched parts
    "extractor of another size": (
        extractor_of_another_size,
        r"expects (\d+) features per frame and the feature extractor gives 1\1",
    ),
    "figures of other weights": (
        edit("evaluation/test.json", '"model_revision": "sha256:', '"model_revision": "sha256:0'),
        "measured other weights",
    ),
    "no weights": (lambda run: (run / "model.safetensors").unlink(), "has no safetensors weights"),
    "no configuration": (lambda run: (run / "config.json").unlink(), r"has no config\.json"),
    "no extractor": (lambda run: (run / "preprocessor_config.json").unlink(), r"has no preprocessor_config\.json"),
}


@pytest.mark.parametrize("culprit", CULPRITS)
def test_a_forbidden_file_stops_staging(culprit: str, digits: Path, tmp_path: Path) -> None:
    plant, message = CULPRITS[culprit]
    plant(digits)
    refused(digits, tmp_path, message)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_file_bytes": 1_000_000}, r"model\.safetensors has [\d,]+ bytes, more than 1,000,000"),
        ({"license": "mit"}, "text of the license mit is missing"),
        ({"license": "apache2"}, "no license 'apache2'"),
        ({"repo_id": "digits"}, "is not the name of a repository"),
        ({"card": "---\nlicense: apache-2.0\n---\n# Digits\n\n99 % right.\n"}, "metadata has no library_name"),
        ({"card": "# Digits\n"}, "metadata has no license"),
    ],
)
def test_rejects_invalid_options(digits: Path, tmp_path: Path, options: dict[str, object], message: str) -> None:
    refused(digits, tmp_path, message, **options)
