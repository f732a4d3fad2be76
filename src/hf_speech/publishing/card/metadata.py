"""Generates and checks the YAML metadata of a card.

The model-index contains only metrics of the evaluation files. Metadata that users added on the Hub is kept: other
keys (a thumbnail, a base model that no run file names), and further tags, languages and datasets.

Error rates are in percent, as in the Hub's specification and leaderboards of speech recognition (`wer`: 20.90). Other
metrics, such as accuracy, are between 0 and 1, as the Hub's metrics of these names compute them.
"""

from __future__ import annotations

from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCardData
from huggingface_hub.repocard_data import model_index_to_eval_results

from hf_speech.errors import PublishError
from hf_speech.publishing.card.context import decoding, simulated
from hf_speech.publishing.card.corpora import measured_on, trained_on
from hf_speech.publishing.card.facts import Evaluation, RunFacts
from hf_speech.publishing.checks.licenses import FILE, License
from hf_speech.tasks import get_task, metric_named

REQUIRED = ("license", "library_name", "pipeline_tag", "metrics", "model-index")
_GENERATED = frozenset(
    {"license", "license_name", "license_link", "library_name", "pipeline_tag", "metrics", "model-index", "datasets"}
    | {"tags", "language"}
)
_DIGITS = 4
# The test sets of LibriSpeech by their number of utterances, so that an evaluation of a part does not count.
_LIBRISPEECH = {2620: "librispeech_clean_wer", 2939: "librispeech_other_wer"}


def card_data(facts: RunFacts, repo_id: str, license: License, previous: dict[str, Any]) -> ModelCardData:
    """Returns the metadata of a card; `previous` is that of the card on the Hub."""
    corpus = trained_on(facts)
    model_type = str(facts.config.get("model_type", ""))
    streams = facts.config.get("causal") and not facts.config.get("bidirectional")
    tags = ["speech", "audio", "hf_speech", model_type.replace("_", "-"), *(["streaming"] if streams else [])]
    previous_language = previous.get("language")
    languages = _merge(corpus.languages, previous_language)
    kept = {key: value for key, value in previous.items() if key not in _GENERATED}
    if base := facts.base_model.get("repo_id"):
        kept |= {"base_model": base, "base_model_relation": "finetune"}
    return ModelCardData(
        language=previous_language if languages == [previous_language] else languages or None,
        license=license.name,
        license_name=license.title,
        license_link=FILE if license.title else None,
        library_name="transformers",
        pipeline_tag=get_task(facts.task).pipeline_tag,
        tags=_merge(tags, previous.get("tags")),
        datasets=_merge(corpus.datasets, previous.get("datasets")) or None,
        metrics=list(dict.fromkeys(metric_named(metric).hub_name for metric in facts.main.metrics)),
        model_name=repo_id.rpartition("/")[2],
        eval_results=eval_results(facts),
        **kept,
    )


def eval_results(facts: RunFacts) -> list[EvalResult]:
    """Returns the metrics of the evaluation files in the form of the model-index.

    Results on the training and validation splits are left out if there are others, since choices were made on them.
    """
    others = [entry for entry in facts.evaluations if entry.split not in ("validation", "train")]
    return [_eval_result(facts, entry, metric) for entry in others or facts.evaluations for metric in entry.metrics]


def benchmark_results(facts: RunFacts, repo_id: str) -> str | None:
    """Returns the results on benchmarks of the Hub, for `push.BENCHMARK_FILE`, or None.

    The only such corpus is LibriSpeech, a part of the Open ASR Leaderboard. The format is specified at
    https://huggingface.co/docs/hub/eval-results.
    """
    entries = [
        {
            "dataset": {"id": "hf-audio/open-asr-leaderboard", "task_id": _LIBRISPEECH[entry.num_utterances]},
            "value": _value(entry, "wer"),
            "date": str(entry.date)[:10],
            "source": {"url": f"https://huggingface.co/{repo_id}/blob/main/{entry.file}", "name": "hf-speech evaluate"},
            "notes": ", ".join(filter(None, (decoding(entry), "texts as LibriSpeech writes them"))),
        }
        for entry in facts.evaluations
        if (entry.corpus, entry.split) == ("librispeech", "test")
        and entry.num_utterances in _LIBRISPEECH
        and "wer" in entry.metrics
    ]
    return yaml.safe_dump(entries, sort_keys=False, allow_unicode=True) if entries else None


def check_metadata(metadata: dict[str, Any], facts: RunFacts) -> None:
    """Rejects metadata that is incomplete or differs from the files."""
    for key in REQUIRED:
        if not metadata.get(key):
            raise PublishError(f"The card's metadata has no {key}: add it, or render the card again.")
    if metadata["pipeline_tag"] != get_task(facts.task).pipeline_tag:
        raise PublishError(
            f"The card's pipeline_tag is {metadata['pipeline_tag']}, but the evaluations are of {facts.task}: correct "
            "it."
        )
    try:
        _, claimed = model_index_to_eval_results(metadata["model-index"])
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise PublishError("The card's model-index does not have the Hub's format: render the card again.") from error
    known = eval_results(facts)
    for result in claimed:
        matching = [other for other in known if other.is_equal_except_value(result)]
        if not matching:
            raise PublishError(
                f"The card's model-index has {result.metric_type} on the {result.dataset_split} split of "
                f"{result.dataset_name}, which no evaluation file has: remove it, or evaluate the model."
            )
        if all(other.metric_value != result.metric_value for other in matching):
            raise PublishError(
                f"The card's model-index has {result.metric_type} = {result.metric_value} on the "
                f"{result.dataset_split} split, but the evaluation file has {matching[0].metric_value}: correct the "
                "card."
            )
    for result in known:
        if result not in claimed:
            raise PublishError(
                f"The card's model-index lacks {result.metric_type} on the {result.dataset_split} split of "
                f"{result.dataset_name}, which was measured: render the card again."
            )


def _eval_result(facts: RunFacts, evaluation: Evaluation, metric: str) -> EvalResult:
    corpus = measured_on(facts, evaluation)
    conditions = decoding(evaluation) if evaluation.decoder or simulated(evaluation) else ""
    return EvalResult(
        task_type=get_task(evaluation.task).pipeline_tag,
        task_name=get_task(evaluation.task).title,
        dataset_type=corpus.dataset or corpus.name,
        dataset_name=corpus.title,
        dataset_split=evaluation.split,
        dataset_revision=evaluation.content.get("corpus_revision"),
        metric_type=metric_named(metric).hub_name,
        metric_name=", ".join(filter(None, (metric_named(metric).title, conditions))),
        metric_value=_value(evaluation, metric),
    )


def _value(evaluation: Evaluation, name: str) -> float:
    """Returns the value of a metric in the unit that the Hub expects."""
    value, metric = float(evaluation.metrics[name]), metric_named(name)
    is_rate = metric.unit == "%" and not metric.greater_is_better
    return round(100 * value, _DIGITS - 2) if is_rate else round(value, _DIGITS)


def _merge(generated: list[str], previous: Any) -> list[str]:
    """Appends the values that users added to a list of the metadata."""
    values = [previous] if isinstance(previous, str) else previous if isinstance(previous, list) else []
    return [*generated, *(value for value in values if value not in generated)]
