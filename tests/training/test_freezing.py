from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from training_runs import cut_off

from hf_speech.errors import RecipeError
from hf_speech.models import ConvGRUConfig, ConvGRUForCTC, SpeechLSTMConfig, SpeechLSTMForAudioClassification
from hf_speech.training import load_recipe, train
from hf_speech.training.freezing import Freezing, scale_learning_rates

STEM = ["--model.stem_channels", "[4]", "--model.subsampling", "2", "--training.report_to", "none"]


@pytest.fixture(scope="module")
def start(tones_recipe: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier of tones with batch norm in its front end, trained for one step."""
    recipe = load_recipe(tones_recipe, [*STEM, "--training.max_steps", "1"])
    return train(recipe, tmp_path_factory.mktemp("start") / "start", splits=()).run_dir


def trained(tones_recipe: Path, start: Path, folder: Path, *words: str) -> dict[str, bool]:
    """Returns whether each tensor is unchanged after training from `start`."""
    recipe = load_recipe(tones_recipe, [*STEM, "--init_from", str(start), *words])
    after = load_file(train(recipe, folder, splits=()).run_dir / "model.safetensors")
    before = load_file(start / "model.safetensors")
    return {name: torch.equal(tensor, before[name]) for name, tensor in after.items()}


def test_frozen_parts_keep_their_weights_and_statistics(tones_recipe: Path, start: Path, tmp_path: Path) -> None:
    words = ("--training.max_steps", "2", "--training.freeze", "[frontend,encoder]")
    same = trained(tones_recipe, start, tmp_path / "run", *words)
    assert any("running_mean" in name for name in same)
    for name, unchanged in same.items():
        assert unchanged == name.startswith(("stem.", "layers.", "norms.")), name


def test_unfreezes_layers_from_the_head_down(tones_recipe: Path, start: Path, tmp_path: Path) -> None:
    words = ("--training.num_train_epochs", "2", "--training.freeze", "[frontend,encoder]")
    same = trained(tones_recipe, start, tmp_path / "run", *words, "--training.unfreeze_every", "1")
    for name, unchanged in same.items():  # In the second epoch, the recurrent layer is trained.
        assert unchanged == name.startswith("stem."), name


def test_resume_is_exact(tones_recipe: Path, start: Path, tmp_path: Path) -> None:
    words = [*STEM, "--init_from", str(start), "--training.freeze", "[frontend,encoder]"]
    words += ["--training.unfreeze_every", "0.5", "--training.layerwise_learning_rate_decay", "0.7"]
    words += ["--training.eval_steps", "3", "--training.save_total_limit", "20", "--training.num_train_epochs", "3"]
    recipe = load_recipe(tones_recipe, [*words, "--training.load_best_model_at_end", "false"])
    whole = train(recipe, tmp_path / "whole", splits=()).run_dir
    interrupted = cut_off(whole, tmp_path / "interrupted", 6)
    train(recipe, interrupted, resume=True, splits=())
    one, two = (load_file(folder / "model.safetensors") for folder in (whole, interrupted))
    assert all(torch.equal(one[key], two[key]) for key in one)


def test_learning_rates_decrease_from_the_head_down() -> None:
    config = ConvGRUConfig(
        input_size=8, channels=4, hidden_size=4, num_hidden_layers=2, bidirectional=False, lookahead=1, vocab_size=5
    )
    model = ConvGRUForCTC(config)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1.0)
    scale_learning_rates(optimizer, model, 0.5)
    rate = {id(one): group["lr"] for group in optimizer.param_groups for one in group["params"]}
    rates = {name: rate[id(parameter)] for name, parameter in model.named_parameters()}
    expected = {"classifier": 1.0, "lookahead": 0.5, "norm": 0.5, "layers.1": 0.5, "layers.0": 0.25, "frontend": 0.125}
    for name, value in rates.items():
        assert value == next(wanted for prefix, wanted in expected.items() if name.startswith(f"{prefix}.")), name


def test_drops_gradients_of_frozen_levels() -> None:
    model = SpeechLSTMForAudioClassification(SpeechLSTMConfig(input_size=4, hidden_size=4, subsampling=2))
    freezing = Freezing(model, ["frontend", "encoder"], unfreeze_every=2)

    def graded(epoch: float) -> set[str]:
        model(torch.randn(2, 9, 4), labels=torch.tensor([0, 1])).loss.backward()
        freezing.after_backward(epoch)
        found = {name.partition(".")[0] for name, one in model.named_parameters() if one.grad is not None}
        model.zero_grad()
        return found

    assert graded(0) == graded(1.99) == {"pooling", "classifier"}
    assert graded(2) == {"pooling", "classifier", "layers", "norms"}
    assert graded(4) == {"pooling", "classifier", "layers", "norms"}
    assert graded(6) == {"pooling", "classifier", "layers", "norms", "stem"}


def test_rejects_freezing_a_missing_front_end() -> None:
    model = SpeechLSTMForAudioClassification(SpeechLSTMConfig(input_size=4, hidden_size=4))
    with pytest.raises(RecipeError, match="has no front end to freeze"):
        Freezing(model, ["frontend"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--training.freeze", "[classifier]"], "freeze"),
        (["--training.unfreeze_every", "2"], "has nothing to unfreeze"),
        (["--training.layerwise_learning_rate_decay", "0"], "layerwise_learning_rate_decay must be above 0"),
    ],
)
def test_rejects_wrong_options(words: list[str], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe("digits", words)
