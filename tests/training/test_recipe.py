from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from datasets import Dataset, DatasetDict

from hf_speech.data.corpora import FSDD
from hf_speech.errors import HFSpeechError, RecipeError
from hf_speech.training import find_recipe, load_recipe, train
from hf_speech.training.building import make_feature_extractor, make_model
from hf_speech.training.recipe import parse_overrides, recipe_files

MINIMAL = """
task: audio-classification
corpus: {name: fsdd, data_dir: somewhere}
features: {sampling_rate: 8000, num_mel_bins: 32}
augmentation: {speed: [0.9, 1.1]}
model: {hidden_size: 24}
training: {learning_rate: 1e-3}
"""


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "mine.yaml"
    path.write_text(MINIMAL)
    return path


def test_sections_become_objects(recipe_file: Path) -> None:
    recipe = load_recipe(recipe_file)
    assert recipe.name == "mine"
    assert isinstance(recipe.corpus, FSDD)
    assert recipe.corpus.data_dir == "somewhere"
    assert recipe.features["num_mel_bins"] == 32
    assert recipe.augmentation.speed == (0.9, 1.1)
    assert recipe.model_type == "speech_lstm"
    assert recipe.model["hidden_size"] == 24
    assert recipe.training.learning_rate == 1e-3


def test_overrides_take_precedence_and_may_be_short(recipe_file: Path) -> None:
    words = "--training.learning-rate 5e-4 --model.bidirectional=false --holdout-speaker theo --name other"
    recipe = load_recipe(recipe_file, words.split())
    assert recipe.training.learning_rate == 5e-4
    assert recipe.model["bidirectional"] is False
    assert recipe.corpus.holdout_speaker == "theo"
    assert recipe.name == "other"


def test_the_corpus_can_be_replaced_on_the_command_line(tmp_path: Path) -> None:
    path = tmp_path / "plain.yaml"
    path.write_text("corpus: {name: synthetic}\n")
    assert load_recipe(path, ["--corpus.name", "fsdd"]).corpus.name == "fsdd"


@pytest.mark.parametrize("recipe", ["mini_librispeech", "english", "speechocean762", "wake_words", "all_english"])
def test_keys_of_a_replaced_corpus_are_left_out(recipe: str) -> None:
    words = ["--corpus.name", "csv", "--train_file", "a.csv", "--validation_fraction", "0.2"]
    replaced = load_recipe(recipe, words)
    assert (replaced.corpus.name, replaced.corpus.validation_fraction) == ("csv", 0.2)


def test_a_mistyped_key_is_refused_even_if_the_corpus_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "typo.yaml").write_text("corpus: {name: librispeech, train_subset: [a]}\n")
    with pytest.raises(RecipeError, match=r"unknown key 'corpus.train_subset'"):
        load_recipe(tmp_path / "typo.yaml", ["--corpus.name", "csv"])


def test_a_resolved_recipe_is_unchanged(recipe_file: Path, tmp_path: Path) -> None:
    recipe = load_recipe(recipe_file, ["--augmentation.noise_snr", "[5, 20]"])
    (tmp_path / "resolved.yaml").write_text(recipe.to_yaml())
    again = load_recipe(tmp_path / "resolved.yaml")
    assert again == recipe
    values = yaml.safe_load(recipe.to_yaml())
    assert values["training"]["weight_decay"] == recipe.training.weight_decay
    assert values["augmentation"]["noise_snr"] == [5.0, 20.0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("training: {learning_rat: 1}", "unknown key 'training.learning_rat': did you mean 'training.learning_rate'"),
        ("model: {hidden: 3}", "unknown key 'model.hidden'"),
        ("features: {hidden_size: 3}", "did you mean 'model.hidden_size'"),
        ("modl: {}", "did you mean 'model'?"),
        ("corpus: {name: fsd}", "no corpus 'fsd': did you mean 'fsdd'"),
        ("task: audio-classificaton", "did you mean 'audio-classification'"),
        ("model: {model_type: speech_lsmt}", "did you mean 'speech_lstm'"),
        ("model: {hidden_size: many}", "model.hidden_size: it must be of type int, and many is not"),
        ("model: {pooling: sum}", "it must be one of 'last', 'mean', 'max', 'attention', and sum is not"),
        ("training: {trainer_options: {optimm: x}}", "did you mean 'optim'"),
        ("augmentation: {speed: [2, 1]}", "augmentation.speed"),
        ("corpus: [1, 2]", "section 'corpus'"),
        ("just words", "must consist of sections"),
        ("a: [", "not valid YAML"),
    ],
)
def test_one_sentence_error_for_wrong_values(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(content)
    with pytest.raises(HFSpeechError) as caught:
        load_recipe(path)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_suggests_the_nearest_key(recipe_file: Path) -> None:
    with pytest.raises(RecipeError, match=r"command line has an unknown key 'trainin.seed'.*'training.seed'"):
        load_recipe(recipe_file, ["--trainin.seed", "3"])
    with pytest.raises(RecipeError, match="'3' belongs to no option"):
        load_recipe(recipe_file, ["3"])


def test_a_whole_section_can_be_overridden() -> None:
    mixture = load_recipe("emotion", ["--corpus", "[{name: ravdess, weight: 3}, {name: crema_d, weight: 5}]"])
    assert list(mixture.corpus.members) == ["ravdess", "crema_d"]
    other = load_recipe("emotion", ["--corpus", "{name: crema_d}", "--fold", "1"])
    assert (other.corpus.name, other.corpus.fold) == ("crema_d", 1)
    with pytest.raises(RecipeError, match="--corpus is not valid YAML"):
        load_recipe("emotion", ["--corpus", "[{"])
    with pytest.raises(RecipeError, match="'model' must be a list of `key: value` lines"):
        load_recipe("emotion", ["--model", "large"])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("augmentation.noise_snr", "5", "must be of type [float, float] or null, and 5 is not"),
        ("augmentation.speed", "[1, 2, 3]", "must be of type [float, float] or null, and [1, 2, 3] is not"),
        ("training.eval_steps", "often", "must be of type float or null, and often is not"),
        ("training.early_stopping_patience", "1.5", "must be of type int or null, and 1.5 is not"),
        ("model.hidden_size", "many", "must be of type int, and many is not"),
    ],
)
def test_names_the_types_of_a_wrong_option(recipe_file: Path, key: str, value: str, message: str) -> None:
    with pytest.raises(RecipeError) as error:
        load_recipe(recipe_file, [f"--{key}", value])
    assert str(error.value) == f"The command line cannot be used: {key}: it {message}"


@pytest.mark.parametrize("option", ["hidden_size", "num_hidden_layers", "dropout"])
def test_names_the_key_of_an_impossible_size(tones_recipe: Path, tmp_path: Path, option: str) -> None:
    with pytest.raises(RecipeError, match=rf"^The recipe's section model: {option} must (lie|be)"):
        train(load_recipe(tones_recipe, [f"--model.{option}", "-7"]), tmp_path / "run")


def test_parse_overrides() -> None:
    words = ["--a.b-c", "1", "--flag", "--x=-2", "--last"]
    assert parse_overrides(words) == {"a.b_c": "1", "flag": "true", "x": "-2", "last": "true"}


def test_suggests_the_nearest_recipe() -> None:
    with pytest.raises(RecipeError, match="did you mean 'digits'"):
        find_recipe("digit")


@pytest.mark.parametrize("path", recipe_files(), ids=lambda path: path.stem)
def test_recipes_of_the_package_load(path: Path) -> None:
    recipe = load_recipe(path)
    assert recipe.task.name in path.read_text(encoding="utf-8")
    assert recipe.name == path.stem


def test_the_model_configuration_contains_the_deltas() -> None:
    recipe = load_recipe("an4", ["--features.num_deltas", "1", "--model.stem_channels", "0"])
    extractor = make_feature_extractor(recipe)
    corpus = DatasetDict(train=Dataset.from_dict({"text": ["a b"]}))
    model = make_model(recipe, extractor, corpus, recipe.task.make_tokenizer(corpus, recipe.text))
    assert (model.config.num_deltas, model.config.input_size) == (1, extractor.feature_size)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: " + "[" * 2000 + "]" * 2000, "nested too deeply"),
        ("training: {seed: " + "{a: " * 2000 + "1" + "}" * 2000 + "}", "nested too deeply"),
        ("training: {seed: " + "1" * 5000 + "}", "not valid YAML"),
        ("model: {hidden_size: " + "[" * 90 + "]" * 90 + "}", "hidden_size"),
        ("training: {seed: [" + "x, " * 30000 + "]}", "training.seed"),
        ("name: [oops", "not valid YAML"),
    ],
)
def test_one_sentence_error_for_unreadable_recipes(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "odd.yaml").write_text(text)
    with pytest.raises(RecipeError, match=message) as caught:
        load_recipe(tmp_path / "odd.yaml")
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize(
    "name", ["", " ", ".", "..", "a/b", "../up", "/root", "a\\b", "x" * 300, "\u0301" * 60, "tab\t", "-r"]
)
def test_rejects_names_outside_the_folder_runs(name: str) -> None:
    with pytest.raises(RecipeError, match="is not a valid folder name"):
        load_recipe("fsdd", [f"--name={name}"])


def test_a_folder_is_not_a_recipe(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"is a folder, not a recipe: .* write folder --data_dir "):
        find_recipe(tmp_path)
    (tmp_path / "recipe.yaml").write_text("task: audio-classification\n")
    with pytest.raises(RecipeError, match=r"is a run folder, not a recipe: give .*recipe\.yaml"):
        find_recipe(str(tmp_path))


def test_a_recording_is_not_a_recipe(tmp_path: Path) -> None:
    (tmp_path / "a.wav").write_bytes(b"RIFF\x80")
    with pytest.raises(RecipeError, match=r"a\.wav is not text .*: give a YAML file in UTF-8"):
        load_recipe(tmp_path / "a.wav")


@pytest.mark.parametrize("name", ["", "x" * 300 + ".yaml", "nul\0"])
def test_reports_recipes_with_impossible_names(name: str) -> None:
    with pytest.raises(RecipeError, match="There is no recipe"):
        load_recipe(name)


@pytest.mark.parametrize(
    "options", ['{"optim": "x"}', '{"lr_scheduler_kwargs": {"x": 1}}', '{"adam_beta1": 5}', '{"adam_epsilon": -1}']
)
def test_rejects_invalid_trainer_options_before_reading_the_corpus(
    options: str, tones_recipe: Path, tmp_path: Path
) -> None:
    recipe = load_recipe(tones_recipe, ["--training.trainer_options", options, "--data_dir", "nowhere"])
    with pytest.raises(RecipeError, match=r"training\.trainer_options"):
        train(recipe, tmp_path / "run")
