"""Words in time as subtitles: SubRip (SRT), WebVTT, and JSON for programs.

A cue is what is on the screen at once. It holds as many words as fit into its lines and its time, ends where the
speaker pauses, stays long enough to be read, and never overlaps the next one. Times are whole milliseconds from the
start, so that rounding cannot make cues overlap afterwards.
"""

from __future__ import annotations

import html
import json
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from hf_speech.decoding.hypothesis import Hypothesis, Word
from hf_speech.errors import HFSpeechError


@dataclass(frozen=True, slots=True)
class Cue:
    """Lines of text and when they are shown.

    Attributes:
        start: Milliseconds from the start of the sound.
        end: The same, always after `start` and never after the next cue's.
        lines: The text.
    """

    start: int
    end: int
    lines: tuple[str, ...]


def make_cues(
    words: Iterable[Word],
    *,
    max_line_length: int = 42,
    max_lines: int = 2,
    max_duration: float = 7.0,
    min_duration: float = 0.8,
    max_pause: float = 1.5,
) -> list[Cue]:
    """Share words out among cues.

    Args:
        words: The words, in time.
        max_line_length: Characters of a line; only a single word that is longer exceeds it.
        max_lines: Lines of a cue.
        max_duration: Seconds that a cue is shown at most.
        min_duration: Seconds that a cue is shown at least, if the next one leaves it that long.
        max_pause: Seconds of silence between two words that end a cue.

    Raises:
        HFSpeechError: If the limits leave no room for a word.
    """
    if min(max_line_length, max_lines) < 1 or not 0.001 <= max_duration >= min_duration:
        raise HFSpeechError(
            f"No subtitle fits into {max_lines} lines of {max_line_length} characters shown for {min_duration} to "
            f"{max_duration} s: allow at least a line, a character and a millisecond."
        )

    def wrap(group: Sequence[Word]) -> list[str]:
        text = " ".join(word.text for word in group)
        return textwrap.wrap(text, max_line_length, break_long_words=False, break_on_hyphens=False)

    groups: list[list[Word]] = []
    for word in words:
        if not word.text.strip():
            continue
        fits = (
            bool(groups)
            and word.end - groups[-1][0].start <= max_duration
            and word.start - groups[-1][-1].end <= max_pause
            and len(wrap([*groups[-1], word])) <= max_lines
        )
        if fits:
            groups[-1].append(word)
        else:
            groups.append([word])

    starts: list[int] = []
    for group in groups:
        starts.append(max(_milliseconds(group[0].start), starts[-1] + 1 if starts else 0))
    cues = []
    for index, (start, group) in enumerate(zip(starts, groups, strict=True)):
        end = max(_milliseconds(group[-1].end), start + _milliseconds(min_duration), start + 1)
        latest = starts[index + 1] if index + 1 < len(starts) else end
        cues.append(Cue(start, min(end, start + _milliseconds(max_duration), latest), tuple(wrap(group))))
    return cues


def to_srt(cues: Sequence[Cue]) -> str:
    """Cues as a SubRip file; the format has no way to escape, so the text is as it is."""
    blocks = (
        f"{number}\n{_time(cue.start, ',')} --> {_time(cue.end, ',')}\n" + "\n".join(cue.lines) + "\n"
        for number, cue in enumerate(cues, start=1)
    )
    return "\n".join(blocks)


def to_vtt(cues: Sequence[Cue]) -> str:
    """Cues as a WebVTT file; `&`, `<` and `>` are escaped, since it reads them as markup."""
    blocks = (
        f"{_time(cue.start, '.')} --> {_time(cue.end, '.')}\n" + html.escape("\n".join(cue.lines), quote=False) + "\n"
        for cue in cues
    )
    return "\n".join(["WEBVTT\n", *blocks])


def to_json(words: Sequence[Word], *, file: str | None = None, nbest: Iterable[Hypothesis] = ()) -> str:
    """The text, and the words with their times in seconds (to the millisecond) and confidences, as JSON.

    Args:
        words: The words, in time.
        file: The name of the sound, to be written, too.
        nbest: Hypotheses to be written as a list with their scores, the words in each as above.
    """
    content: dict[str, Any] = {} if file is None else {"file": file}
    content |= _describe(words)
    if rows := [{"score": round(other.score, 4), **_describe(other.words)} for other in nbest]:
        content["nbest"] = rows
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def _describe(words: Sequence[Word]) -> dict[str, Any]:
    rows = [
        {
            "text": word.text,
            "start": round(word.start, 3),
            "end": round(word.end, 3),
            "confidence": round(word.confidence, 4),
        }
        for word in words
    ]
    return {"text": " ".join(word.text for word in words), "words": rows}


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _time(milliseconds: int, point: str) -> str:
    """`HH:MM:SS` and milliseconds after the format's decimal point; hours may have more digits."""
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{milliseconds:03}"
