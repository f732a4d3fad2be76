"""Remote code: required files, imports, and changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hf_speech.errors import PublishError
from hf_speech.publishing import stage
from hf_speech.publishing.checks.remote_code import check_code, remote_files, requirements_of


def further_class(run: Path) -> None:
    (run / "evil.py").write_text(
        "from transformers import PreTrainedConfig\n\n\nclass Evil(PreTrainedConfig):\n    pass\n"
    )
    config = (run / "config.json").read_text()
    (run / "config.json").write_text(
        config.replace('"auto_map": {', '"auto_map": {"AutoTokenizer": ["evil.Evil", null],', 1)
    )


def further_import(run: Path) -> None:
    (run / "evil.py").write_text("x = 1\n")
    with (run / "recurrent.py").open("a") as stream:
        stream.write("\nfrom .evil import x\n")


def changed(run: Path) -> None:
    with (run / "spectral.py").open("a") as stream:
        stream.write("\nprint(1)\n")


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (further_class, "evil.py differs"),
        (further_import, "evil.py, recurrent.py differ"),
        (changed, "spectral.py differs"),
    ],
)
def test_custom_code_requires_an_option(
    change: Callable[[Path], None], named: str, digits: Path, tmp_path: Path
) -> None:
    change(digits)
    with pytest.raises(PublishError, match=f"^{named} from the code of this version .* pass --custom_code"):
        stage(digits, tmp_path / "staged", repo_id="anna/x")
    assert stage(digits, tmp_path / "again", repo_id="anna/x", custom_code=True).files


def test_copies_only_the_required_code(digits: Path) -> None:
    assert remote_files(digits) == sorted(path.name for path in digits.glob("*.py"))


def test_accepts_allowed_imports(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(
        "from __future__ import annotations\nimport math, torch.nn as nn\nfrom .b import x\n"
        "try:\n    import flash_attn\nexcept ImportError:\n    flash_attn = None\n"
    )
    (tmp_path / "b.py").write_text("import yaml\nx = 1\n")
    check_code(tmp_path, ["a.py", "b.py"], "```\npip install torch 'pyyaml>=6' --upgrade\n```")
    with pytest.raises(PublishError, match=r"b\.py imports yaml"):
        check_code(tmp_path, ["a.py", "b.py"], "```\npip install torch\n```")


def test_rejects_import_examples_in_docstrings(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('"""Use it so:\n\n    from .somewhere import thing\n"""\n')
    with pytest.raises(PublishError, match=r"a\.py has an import of \.somewhere in a docstring"):
        check_code(tmp_path, ["a.py"], "")


def test_checks_requirements_of_a_card() -> None:
    text = 'a\npip install "torch>=2.11" numpy\n`pip install PyYAML`\n    pip3 install -U scikit_learn==1.7\n'
    assert requirements_of(text) == {"torch", "numpy", "pyyaml", "scikit-learn"}
