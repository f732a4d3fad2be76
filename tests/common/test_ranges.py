from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import pytest
import yaml

from hf_speech.common.ranges import Range, check_ranges, find_ranges
from hf_speech.data.augmentation import Augmentation
from hf_speech.errors import RecipeError
from hf_speech.training import TrainingOptions, load_recipe


@dataclass
class Options:
    share: Annotated[float, Range(0, 1)] = 0.5
    factor: Annotated[float, Range(above=0, below=3)] | None = None
    pair: Annotated[tuple[float, float], Range(-1)] | None = None
    name: str = "free"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"share": -0.1}, "between 0 and 1, and -0.1 is not"),
        ({"share": 1.0001}, "between 0 and 1"),
        ({"share": math.nan}, "nan is not"),
        ({"factor": 0}, "above 0 and below 3, and 0 is not"),
        ({"factor": 3}, "above 0 and below 3"),
        ({"pair": (0, -2)}, "at least -1, and -2 is not"),
        ({"pair": (math.inf, 0)}, "inf is not"),
        ({"share": 10**5000}, "a huge number is not"),
    ],
)
def test_rejects_values_outside_of_their_range(values: dict[str, Any], message: str) -> None:
    with pytest.raises(RecipeError, match=f"section.{next(iter(values))} must be .*{message}"):
        check_ranges(Options(**values), "section")


@pytest.mark.parametrize(
    "values", [{}, {"share": 0}, {"share": 1}, {"factor": None}, {"factor": 2.9}, {"pair": (-1, 9)}]
)
def test_accepts_boundary_values_and_null(values: dict[str, Any]) -> None:
    check_ranges(Options(**values), "section")


VALUES = [
    *(("training", key, value) for key, value in [("seed", -1), ("seed", 2**32), ("warmup_steps", -0.5)]),
    *(
        ("training", key, -1)
        for key in ("gradient_accumulation_steps", "max_grad_norm", "weight_decay", "learning_rate")
    ),
    *(
        ("training", key, 0)
        for key in ("logging_steps", "save_total_limit", "eval_steps", "per_device_train_batch_size")
    ),
    *(("training", key, math.inf) for key in ("num_train_epochs", "learning_rate")),
    *(("training", "weight_averaging", value) for value in (-1, 1, math.nan)),
    *(("augmentation", key, [0, 1e12]) for key in ("silence", "gain", "noise_snr")),
    ("augmentation", "equalizer", -1),
    ("augmentation", "tempo_copies", [1.0, 1e9]),
    ("corpus", "seed", -1),
    ("corpus", "min_duration", -0.1),
]


def by_command_line(section: str, key: str, value: Any, tmp_path: Path) -> None:
    load_recipe("fsdd", [f"--{section}.{key}", str(value)])


def by_yaml(section: str, key: str, value: Any, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        yaml.safe_dump({"corpus": {"name": "fsdd"}} | {section: {"name": "fsdd"} if section == "corpus" else {}})
    )
    content = yaml.safe_load(path.read_text())
    content[section][key] = value
    path.write_text(yaml.safe_dump(content))
    load_recipe(path)


def by_python(section: str, key: str, value: Any, tmp_path: Path) -> None:
    if section == "corpus":
        load_recipe({"corpus": {"name": "fsdd", key: value}})
    else:
        {"training": TrainingOptions, "augmentation": Augmentation}[section](**{key: value})


@pytest.mark.parametrize("give", [by_command_line, by_yaml, by_python])
@pytest.mark.parametrize(("section", "key", "value"), VALUES)
def test_checks_ranges_for_all_ways_to_set_an_option(
    give: Callable[..., None], section: str, key: str, value: Any, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=rf"{section}\.{key}"):
        give(section, key, value, tmp_path)


def test_every_number_of_the_training_section_has_a_range() -> None:
    numbers = {name for name, kind in TrainingOptions.__annotations__.items() if "int" in kind or "float" in kind}
    assert numbers - find_ranges(TrainingOptions).keys() == set()
    assert TrainingOptions(**{name: TrainingOptions().__dict__[name] for name in numbers}) == TrainingOptions()
