"""The YAML metadata of a card: generated from the files, validated by the Hub's client.

The model-index contains only metrics of the evaluation files. Metadata that users added on the Hub is kept: other
keys (a thumbnail, a base model that no run file names), and further tags, languages and datasets.

Error rates are in percent, as the Hub's specification and its leaderboards of speech recognition have them (`wer`:
20.90); accuracies and the like are between 0 and 1, as the metrics of these names on the Hub compute them.
"""

from __future__ import annotations

from typing import Any

import yaml
from huggingface_hub import EvalResult, ModelCardData
from huggingface_hub.repocard_data import model_index_to_eval_results

from hf_speech.errors import PublishError
from hf_speech.publishing.card.corpora import measured_on, trained_on
from hf_speech.publishing.card.facts import Evaluation, RunFacts
from hf_speech.publishing.card.words import decoding, simulated
from hf_speech.publishing.checks.licenses import FILE, License
from hf_speech.tasks import get_task, metric_named

NEEDED = ("license", "library_name", "pipeline_tag", "metrics", "model-index")
_OURS = frozenset(
    {"license", "license_name", "license_link", "library_name", "pipeline_tag", "metrics", "model-index", "datasets"}
    | {"tags", "language"}
)
_DIGITS = 4
# The test sets of LibriSpeech, by the number of their utterances: a part of one is no result on it.
_LIBRISPEECH = {2620: "librispeech_clean_wer", 2939: "librispeech_other_wer"}


def card_data(facts: RunFacts, repo_id: str, license: License, previous: dict[str, Any]) -> ModelCardData:
    """The metadata of a card."""
    corpus = trained_on(facts)
    model_type = str(facts.config.get("model_type", ""))
    streams = facts.config.get("causal") and not facts.config.get("bidirectional")
    tags = ["speech", "audio", "hf_speech", model_type.replace("_", "-"), *(["streaming"] if streams else [])]
    entered = previous.get("language")
    languages = _with(corpus.languages, entered)
    kept = {key: value for key, value in previous.items() if key not in _OURS}
    if base := facts.base_model.get("repo_id"):
        kept |= {"base_model": base, "base_model_relation": "finetune"}
    return ModelCardData(
        language=entered if languages == [entered] else languages or None,
        license=license.name,
        license_name=license.title,
        license_link=FILE if license.title else None,
        library_name="transformers",
        pipeline_tag=get_task(facts.task).pipeline_tag,
        tags=_with(tags, previous.get("tags")),
        datasets=_with(corpus.datasets, previous.get("datasets")) or None,
        metrics=list(dict.fromkeys(metric_named(metric).hub_name for metric in facts.main.metrics)),
        model_name=repo_id.rpartition("/")[2],
        eval_results=eval_results(facts),
        **kept,
    )


def eval_results(facts: RunFacts) -> list[EvalResult]:
    """The figures of the evaluation files, as the model-index has them.

    Those of a validation split, on which choices were made, are left out where there are others.
    """
    others = [entry for entry in facts.evaluations if entry.split not in ("validation", "train")]
    return [_eval_result(facts, entry, metric) for entry in others or facts.evaluations for metric in entry.metrics]


def benchmark_results(facts: RunFacts, repo_id: str) -> str | None:
    """The results on benchmarks of the Hub, for `push.BENCHMARK_FILE`; None if there are none.

    Of our corpora only LibriSpeech is one, as a part of the Open ASR Leaderboard. The format is that of
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
    """Refuses metadata that is incomplete or differs from the files."""
    for key in NEEDED:
        if not metadata.get(key):
            raise PublishError(f"The card's metadata has no {key}: add it, or let the card be rendered.")
    if metadata["pipeline_tag"] != get_task(facts.task).pipeline_tag:
        raise PublishError(
            f"The card's pipeline_tag is {metadata['pipeline_tag']}, and the evaluations are of {facts.task}: correct "
            "it."
        )
    try:
        _, claimed = model_index_to_eval_results(metadata["model-index"])
    except (KeyError, TypeError, AttributeError, ValueError, IndexError) as error:
        raise PublishError("The card's model-index is not of the Hub's form: let the card be rendered.") from error
    known = eval_results(facts)
    for result in claimed:
        same = [other for other in known if other.is_equal_except_value(result)]
        if not same:
            raise PublishError(
                f"The card's model-index has {result.metric_type} on the {result.dataset_split} split of "
                f"{result.dataset_name}, which no evaluation file has: remove it, or evaluate."
            )
        if all(other.metric_value != result.metric_value for other in same):
            raise PublishError(
                f"The card's model-index says {result.metric_type} = {result.metric_value} on the "
                f"{result.dataset_split} split, and the evaluation file says {same[0].metric_value}: correct the card."
            )
    for result in known:
        if result not in claimed:
            raise PublishError(
                f"The card's model-index lacks {result.metric_type} on the {result.dataset_split} split of "
                f"{result.dataset_name}, which was measured: let the card be rendered."
            )


def _eval_result(facts: RunFacts, evaluation: Evaluation, metric: str) -> EvalResult:
    corpus = measured_on(facts, evaluation)
    how = f", {found}" if (evaluation.decoder or simulated(evaluation)) and (found := decoding(evaluation)) else ""
    return EvalResult(
        task_type=get_task(evaluation.task).pipeline_tag,
        task_name=get_task(evaluation.task).title,
        dataset_type=corpus.dataset or corpus.name,
        dataset_name=corpus.title,
        dataset_split=evaluation.split,
        dataset_revision=evaluation.content.get("corpus_revision"),
        metric_type=metric_named(metric).hub_name,
        metric_name=f"{metric_named(metric).title}{how}",
        metric_value=_value(evaluation, metric),
    )


def _value(evaluation: Evaluation, name: str) -> float:
    """A metric in the unit that the Hub expects."""
    value, metric = float(evaluation.metrics[name]), metric_named(name)
    is_rate = metric.unit == "%" and not metric.greater_is_better
    return round(100 * value, _DIGITS - 2) if is_rate else round(value, _DIGITS)


def _with(ours: list[str], entered: Any) -> list[str]:
    """A list of the metadata, followed by what users added to it."""
    others = [entered] if isinstance(entered, str) else entered if isinstance(entered, list) else []
    return [*ours, *(value for value in others if value not in ours)]
