"""Automatic speech recognition: characters with CTC, word and character error rates, and word confusions.

The model's own tokenizer turns ids into text, as in transformers' pipeline: repeated ids are merged, blanks are
dropped. A reference is the corpus's transcript, normalized as in the model's training. A character outside the
vocabulary stays in the reference and counts as an error, also during training.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from hf_speech.data.audio import source_name
from hf_speech.decoding import collapse
from hf_speech.errors import CorpusError, ModelError, RecipeError
from hf_speech.tasks.base import IGNORED, Record, Task
from hf_speech.tasks.metric import Metric
from hf_speech.tasks.text import TextOptions

if TYPE_CHECKING:
    import torch
    from datasets import Dataset, DatasetDict
    from transformers import EvalPrediction, PreTrainedConfig

    from hf_speech.data.reports import InspectionReport
    from hf_speech.tasks.lexicon import Lexicon


class AutomaticSpeechRecognition(Task):
    """Transcripts of utterances, predicted as characters."""

    name = "automatic-speech-recognition"
    verb = space = "transcribe"
    target_column = "text"
    auto_class = "AutoModelForCTC"
    architecture_suffixes = ("ForCTC",)
    model_types = ("conv_gru",)
    metrics = {  # noqa: RUF012 - declared as a ClassVar in the base class
        "wer": Metric("Word error rate (WER)", "wer", greater_is_better=False),
        "cer": Metric("Character error rate (CER)", "cer", greater_is_better=False),
    }
    best_metric = "wer"
    decoding = "best path"
    can_join = True
    needs_whole_sound = True
    text_options = TextOptions
    chart = "transcripts"
    units = "different words"
    open_units = True

    def make_tokenizer(self, dataset_dict: DatasetDict, options: Any = None) -> Any:
        """Returns a `Wav2Vec2CTCTokenizer` with the characters of `text.vocabulary` or of the training transcripts.

        Raises:
            CorpusError: If the transcripts have no characters.
            RecipeError: If `text.vocabulary` contains the word delimiter.
        """
        from hf_speech.tasks.transcripts import build_tokenizer

        return build_tokenizer(list(dataset_dict["train"][self.target_column]), options or TextOptions())

    def text_of(self, tokenizer: Any) -> dict[str, Any]:
        """Returns `normalizer` and `spell_numbers`."""
        saved = tokenizer.init_kwargs
        return {"normalizer": saved.get("text_normalizer", "none"), "spell_numbers": saved.get("spell_numbers", False)}

    def keep_outputs(self, dataset_dict: DatasetDict, options: Any, labels: Sequence[str]) -> tuple[DatasetDict, Any]:
        """Adds the earlier model's characters to `vocabulary`, or to those of the transcripts if it is None."""
        from hf_speech.tasks.transcripts import DELIMITER

        characters = {label for label in labels if len(label) == 1}
        if options.vocabulary is not None:
            characters.update(options.vocabulary)
        else:
            characters.update(*map(options.normalize, dataset_dict["train"][self.target_column]))
        return dataset_dict, dataclasses.replace(options, vocabulary="".join(sorted(characters - {DELIMITER})))

    def load_lexicon(
        self, dataset_dict: DatasetDict, options: Any = None, lexicon_of_corpus: Path | None = None
    ) -> Lexicon | None:
        """Returns the recipe's pronouncing dictionary, if it names one.

        Raises:
            CorpusError: If the dictionary lacks words of the training transcripts.
            RecipeError: If the dictionary does not exist.
        """
        if options is None or options.lexicon is None:
            return None
        path = lexicon_of_corpus if options.lexicon == "corpus" else options.lexicon
        if path is None:
            raise RecipeError("No lexicon comes with this corpus: set text.lexicon to a file or to null.")
        from hf_speech.tasks.lexicon import Lexicon
        from hf_speech.tasks.pronunciation import english_pronunciations

        texts = [options.normalize(text) for text in dataset_dict["train"][self.target_column] if text]
        if path == "cmudict":
            lexicon = Lexicon(english_pronunciations(word for text in texts for word in text.split()))
        else:
            lexicon = Lexicon.load(path)
        lexicon.check(texts)
        return lexicon

    def config_arguments(self, dataset_dict: DatasetDict, tokenizer: Any = None) -> dict[str, Any]:
        """Returns `vocab_size` and `pad_token_id`, the CTC blank."""
        return {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id}

    def inspect_targets(
        self,
        dataset_dict: DatasetDict,
        report: InspectionReport,
        *,
        bad_rows: Literal["refuse", "skip"],
        frames_of: Callable[[float], int],
        tokenizer: Any = None,
        options: Any = None,
    ) -> DatasetDict:
        """Finds transcripts that are empty, have characters outside the vocabulary, or are too long for their sound.

        Raises:
            CorpusError: If there are bad rows and `bad_rows` is "refuse", or if nothing is left to train on.
        """
        from hf_speech.tasks.transcripts import inspect_transcripts

        unknown = (options or TextOptions()).unknown
        return inspect_transcripts(
            dataset_dict, report, tokenizer, unknown=unknown, bad_rows=bad_rows, frames_of=frames_of
        )

    def examine_target(
        self,
        row: Mapping[str, Any],
        seconds: float,
        *,
        frames_of: Callable[[float], int],
        tokenizer: Any = None,
        options: Any = None,
    ) -> str | None:
        """Returns why a transcript cannot be learned: empty, characters outside the vocabulary, or too long."""
        from hf_speech.tasks.transcripts import is_harmless, transcript_fault

        fault = transcript_fault(row[self.target_column] or "", seconds, tokenizer, frames_of)
        if fault is None or is_harmless(fault[0], (options or TextOptions()).unknown):
            return None
        return f"{source_name(row['audio'])}: {fault[1]}."

    def encode_target(self, row: Mapping[str, Any], tokenizer: Any = None) -> torch.Tensor:
        """Returns the character ids `(characters,)` of a row's transcript."""
        import torch

        from hf_speech.tasks.transcripts import encode_text

        return torch.tensor(encode_text(row[self.target_column], tokenizer), dtype=torch.long)

    def join_targets(self, first: torch.Tensor, second: torch.Tensor, tokenizer: Any = None) -> torch.Tensor:
        """Returns the character ids of both transcripts with a space between them."""
        import torch

        return torch.cat((first, first.new_tensor([tokenizer.word_delimiter_token_id]), second))

    def compute_metrics(self, prediction: EvalPrediction, tokenizer: Any = None) -> dict[str, float]:
        """Computes error rates and counts of predictions `(utterances, frames)` and labels `(utterances, ids)`."""
        from hf_speech.tasks.metrics import TranscriptionMetrics

        references, predictions = _texts(prediction, tokenizer)
        return TranscriptionMetrics().compute(predictions=predictions, references=references)

    def sample_lines(self, prediction: EvalPrediction, tokenizer: Any = None, count: int = 3) -> list[str]:
        """Returns references and predictions aligned word by word; see the function `sample_lines`."""
        return sample_lines(*_texts(prediction, tokenizer), count)

    def load_tokenizer(self, folder: str, **hub_arguments: Any) -> Any:
        """Loads the model's tokenizer."""
        from transformers import AutoTokenizer

        remedy = "save the model's tokenizer in its folder."
        try:
            tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False, **hub_arguments)
        except (OSError, ValueError, TypeError, LookupError, AttributeError, AssertionError, ImportError) as error:
            raise ModelError(f"{folder} has no tokenizer (tokenizer_config.json, vocab.json): {remedy}") from error
        if not hasattr(tokenizer, "word_delimiter_token_id"):
            raise ModelError(f"The tokenizer of {folder} ({type(tokenizer).__name__}) is not a CTC tokenizer: {remedy}")
        return tokenizer

    def references(self, rows: Dataset, config: PreTrainedConfig, tokenizer: Any = None) -> list[str]:
        """Returns the transcript of every row, normalized as in the model's training.

        Raises:
            CorpusError: If a row has no transcript.
        """
        self.check_columns(rows)
        texts = list(rows[self.target_column])
        for index, text in enumerate(texts):
            if text is None:
                raise CorpusError(
                    f"Row {index} has no transcript: leave the rows without one out of the evaluated split."
                )
        from hf_speech.tasks.transcripts import normalize_for

        return [normalize_for(text, tokenizer) for text in texts]

    def decode(self, logits: np.ndarray, config: PreTrainedConfig, tokenizer: Any = None) -> Record:
        """Returns the greedy transcript of the logits `(frames, vocabulary)`.

        Its `probability` is that of the most likely path through the frames, a lower bound for the transcript's.
        """
        scores = np.asarray(logits, dtype=np.float64)
        best = scores.max(axis=-1)
        log_probability = -np.log(np.exp(scores - best[:, None]).sum(axis=-1)).sum()
        return {"prediction": _decode(scores.argmax(axis=-1), tokenizer), "probability": float(np.exp(log_probability))}

    def score(self, reference: str, decoded: Record) -> Record:
        """Returns the record with whether every word is correct, and the `ERROR_COUNTS`."""
        from hf_speech.tasks.metrics import ERROR_COUNTS, count_errors

        counts = count_errors([reference], [decoded["prediction"]])[0]
        return {
            "reference": reference,
            **decoded,
            "correct": not counts[0:3].any(),
            **{name: int(count) for name, count in zip(ERROR_COUNTS, counts, strict=True)},
        }

    def tally(self, records: Sequence[Record]) -> np.ndarray:
        """Returns the `ERROR_COUNTS` of each utterance, `(utterances, 8)`."""
        from hf_speech.tasks.metrics import ERROR_COUNTS

        counts = [[record[name] for name in ERROR_COUNTS] for record in records]
        return np.array(counts, dtype=np.float64).reshape(-1, len(ERROR_COUNTS))

    def metrics_from_counts(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Returns `wer` and `cer` for summed counts `(..., 8)`."""
        from hf_speech.tasks.metrics import error_rates

        return error_rates(counts)

    def breakdowns(self, records: Sequence[Record], config: PreTrainedConfig) -> dict[str, dict[str, dict[str, float]]]:
        """Returns `errors`: substitutions, deletions, insertions and reference totals of words and of characters."""
        counts = self.tally(records).sum(axis=0).astype(int).tolist()
        columns = ("substitutions", "deletions", "insertions", "total")
        return {
            "errors": {
                "words": dict(zip(columns, counts[:4], strict=True)),
                "characters": dict(zip(columns, counts[4:], strict=True)),
            }
        }

    def confusions(self, records: Sequence[Record]) -> list[tuple[str, str, int]]:
        """Returns the confused words, most frequent first: (reference, prediction, count)."""
        from hf_speech.tasks.metrics import align_words

        wrong: Counter[tuple[str, str]] = Counter()
        for record in records:
            for ref, hyp in align_words(record["reference"], record["prediction"]):
                if ref is not None and hyp is not None and ref != hyp:
                    wrong[ref, hyp] += 1
        return [(*pair, count) for pair, count in sorted(wrong.items(), key=lambda item: (-item[1], item[0]))]

    def describe_outputs(self, config: PreTrainedConfig, tokenizer: Any = None) -> dict[str, Any]:
        """Returns the tokens in the order of their ids, the special tokens, and the samples per logit frame."""
        return {
            "labels": tuple(tokenizer.convert_ids_to_tokens(range(config.vocab_size))),
            "samples_per_frame": config.inputs_to_logits_ratio,
            "blank": config.pad_token_id,
            "word_delimiter": tokenizer.word_delimiter_token,
            "unknown": tokenizer.unk_token,
        }

    def target_units(self, target: str, options: Any = None) -> list[str]:
        """Returns the words of a transcript, normalized with `options` if given."""
        return (target if options is None else options.normalize(target)).split()


def sample_lines(references: Sequence[str], predictions: Sequence[str], count: int = 3, width: int = 110) -> list[str]:
    """Returns a few references and predictions, aligned word by word, with the errors marked.

    Args:
        references: True transcripts.
        predictions: Recognized transcripts.
        count: Number of utterances, spread evenly over all.
        width: Characters after which a line is wrapped.

    Returns:
        For each utterance, lines `REF`, `HYP` and, if there are errors, a line of their kinds: S(ubstitution),
        D(eletion), I(nsertion).
    """
    from hf_speech.tasks.metrics import align_words

    lines: list[str] = []
    for index in np.linspace(0, len(references) - 1, min(count, len(references))).round().astype(int):
        columns: list[tuple[str, str, str]] = []
        used = 0
        for ref, hyp in align_words(references[index], predictions[index]):
            mark = "I" if ref is None else "D" if hyp is None else "S" if ref != hyp else ""
            size = max(len(ref or ""), len(hyp or ""))
            if used and used + size > width:
                lines += _aligned(columns)
                columns, used = [], 0
            columns.append(((ref or "*" * size).ljust(size), (hyp or "*" * size).ljust(size), mark.ljust(size)))
            used += size + 1
        lines += _aligned(columns)
    return lines


def _aligned(columns: Sequence[tuple[str, str, str]]) -> list[str]:
    ref, hyp, marks = (" ".join(cells).rstrip() for cells in (zip(*columns, strict=True) if columns else ("",) * 3))
    return [f"REF: {ref}".rstrip(), f"HYP: {hyp}".rstrip(), *([f"     {marks}"] if marks else [])]


def _texts(prediction: EvalPrediction, tokenizer: Any) -> tuple[list[str], list[str]]:
    """Returns the references and predictions of gathered ids.

    A character outside the vocabulary has the label `<unk>`. It is replaced by a character that no prediction contains,
    so that it counts as an error, as in an evaluation.
    """
    vocabulary = tokenizer.get_vocab()
    missing = next(character for character in ("\ufffd", "\uffff") if character not in vocabulary)
    written = {tokenizer.word_delimiter_token: " ", tokenizer.unk_token: missing}
    references = []
    for ids in np.asarray(prediction.label_ids):
        tokens = tokenizer.convert_ids_to_tokens(ids[ids != IGNORED].tolist())
        references.append("".join(written.get(token, token) for token in tokens))
    return references, [_decode(ids, tokenizer) for ids in np.asarray(prediction.predictions)]


def _decode(ids: np.ndarray, tokenizer: Any) -> str:
    """Decodes a path of ids `(frames,)`: merges repeated ids, drops blanks and collapses spaces."""
    path = np.where(ids == IGNORED, tokenizer.pad_token_id, ids)
    text: str = tokenizer.decode(collapse(path.tolist(), tokenizer.pad_token_id), group_tokens=False)
    return " ".join(text.split())
