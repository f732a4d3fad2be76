"""Creates the feature extractor and the model of a recipe."""

from __future__ import annotations

import inspect
from typing import Any

from datasets import DatasetDict
from huggingface_hub.errors import StrictDataclassError
from transformers import CONFIG_MAPPING, PreTrainedModel

from hf_speech.errors import RecipeError
from hf_speech.models import SpeechFeatureExtractor
from hf_speech.training.recipe import Recipe


def make_feature_extractor(recipe: Recipe) -> SpeechFeatureExtractor:
    """Creates the recipe's feature extractor."""
    try:
        return SpeechFeatureExtractor(**recipe.features)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"The recipe's section features: {error}") from error


def make_model(
    recipe: Recipe,
    extractor: SpeechFeatureExtractor,
    corpus: DatasetDict,
    tokenizer: Any = None,
    lexicon: Any = None,
) -> PreTrainedModel:
    """Creates the recipe's model with random weights, for the extractor's features and the corpus's targets.

    Raises:
        RecipeError: If the configuration rejects a value of the section.
    """
    config_class = CONFIG_MAPPING[recipe.model_type]
    derived = {
        "input_size": extractor.feature_size,
        "hop_length": extractor.hop_length,
        "num_deltas": extractor.num_deltas,
    }
    if lexicon is not None:
        if not recipe.model.get("intermediate_ctc_weight"):
            raise RecipeError(
                "text.lexicon only trains the middle layer: set model.intermediate_ctc_weight, for example to 0.3."
            )
        derived["num_phones"] = lexicon.num_ids
    fitting = {name: value for name, value in derived.items() if name in inspect.signature(config_class).parameters}
    arguments = recipe.task.config_arguments(corpus, tokenizer)
    try:
        config = config_class(**recipe.model, **arguments, **fitting)
    except (StrictDataclassError, TypeError, ValueError) as error:
        reason = " ".join(str(error.__cause__ or error).split())
        raise RecipeError(f"The recipe's section model: {reason}") from error
    config.task = recipe.task.name
    model: PreTrainedModel = recipe.task.auto_model_class.from_config(config)
    return model


def count_logit_frames(model: PreTrainedModel, extractor: SpeechFeatureExtractor, seconds: float) -> int:
    """Returns the number of logit frames for audio of this duration."""
    return int(model.num_logit_frames(extractor.num_frames(round(seconds * extractor.sampling_rate))))
