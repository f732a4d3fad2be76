"""Common behavior of tasks: which need the whole sound."""

from __future__ import annotations

import pytest

from hf_speech.errors import RecipeError
from hf_speech.tasks import get_task


@pytest.mark.parametrize("features", [{"offset": 0.1}, {"max_duration": 2.0}, {"time_average": True}], ids=str)
def test_only_recognizers_need_the_whole_sound(features: dict[str, object]) -> None:
    get_task("audio-classification").check_features(features)
    recognition = get_task("automatic-speech-recognition")
    recognition.check_features({"offset": 0.0, "max_duration": None, "time_average": False, "num_mel_bins": 40})
    with pytest.raises(RecipeError, match=f"needs all of the sound: leave out features.{next(iter(features))}"):
        recognition.check_features(features)
