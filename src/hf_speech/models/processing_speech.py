"""SpeechProcessor: the feature extractor and the CTC tokenizer of a recognizer, as one object.

It is saved as its two parts, in the files that transformers' pipelines read. There is no `processor_config.json`, since
a second copy could contradict them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from transformers import BatchFeature, ProcessorMixin
from transformers.dynamic_module_utils import custom_object_save


class SpeechProcessor(ProcessorMixin):
    """Prepares the input of a recognizer from sound and text, and decodes its output.

    Args:
        feature_extractor: The recognizer's feature extractor.
        tokenizer: The recognizer's CTC tokenizer.
    """

    def __init__(self, feature_extractor: Any, tokenizer: Any) -> None:
        super().__init__(feature_extractor, tokenizer)

    def __call__(self, audio: Any = None, text: Any = None, **options: Any) -> BatchFeature:
        """Prepares a batch.

        Args:
            audio: One utterance or several, in any form that the feature extractor accepts.
            text: The transcripts, which become `labels` `(batch, tokens)`, padded with -100.
            **options: Options of the feature extractor, such as `sampling_rate`; `return_tensors` is "pt", "np" or None
                for lists, which are not padded.

        Returns:
            `input_features` and `attention_mask` of the sound, and `labels` of the text.

        Raises:
            ValueError: If neither sound nor text is given.
        """
        if audio is None and text is None:
            raise ValueError("SpeechProcessor needs sound or text: give audio=, text= or both.")
        tensors = options.pop("return_tensors", "pt")
        batch = BatchFeature({})
        if audio is not None:
            batch = self.feature_extractor(audio, return_tensors=tensors, **options)
        if text is not None:
            texts = [text] if isinstance(text, str) else list(text)
            labels = [self.tokenizer(line).input_ids for line in texts]
            if tensors is not None:
                longest = max(map(len, labels), default=0)
                labels = [ids + [-100] * (longest - len(ids)) for ids in labels]
            batch = BatchFeature({**batch, "labels": labels}, tensor_type=tensors)
        return batch

    @property
    def model_input_names(self) -> list[str]:
        """Names of the model's inputs."""
        return [*self.feature_extractor.model_input_names, "labels"]

    def save_pretrained(self, save_directory: str | Path, push_to_hub: bool = False, **options: Any) -> list[str]:
        """Saves the feature extractor and the tokenizer, and the code of all three classes.

        Args:
            save_directory: The folder, which is created if needed.
            push_to_hub: Not supported: publish the folder instead.
            **options: Ignored.

        Returns:
            The files of the feature extractor and the tokenizer.

        Raises:
            ValueError: For `push_to_hub`.
        """
        if push_to_hub:
            raise ValueError("A SpeechProcessor is pushed with its model: save it, and publish the folder.")
        extractor = self.feature_extractor
        extractor.processor_class = type(self).__name__  # AutoProcessor reads this.
        Path(save_directory).mkdir(parents=True, exist_ok=True)
        if self._auto_class is not None:
            custom_object_save(self, save_directory, config=extractor)
        saved = [*extractor.save_pretrained(save_directory), *self.tokenizer.save_pretrained(save_directory)]
        return [str(path) for path in saved]


__all__ = ["SpeechProcessor"]
