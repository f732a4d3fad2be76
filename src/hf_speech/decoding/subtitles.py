"""Writes words with times as subtitles (SubRip, WebVTT) and as JSON.

A cue is the text that is on the screen at one time. It contains as many words as fit into its lines and its duration,
ends at pauses, stays long enough to be read, and does not overlap the next cue. Line lengths are in columns, of which a
Chinese character takes two. Lines break at spaces, or between characters in scripts without spaces. Times are whole
milliseconds, so that cues cannot overlap after rounding.
"""

from __future__ import annotations

import html
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from hf_speech.common.text import column_width
from hf_speech.decoding.hypothesis import Hypothesis, Word
from hf_speech.decoding.line_breaks import Piece, split_word
from hf_speech.errors import HFSpeechError


@dataclass(frozen=True, slots=True)
class Cue:
    """Lines of text that are shown together.

    Attributes:
        start: Start in milliseconds from the start of the recording.
        end: End in milliseconds, always after `start` and never after the start of the next cue.
        lines: The lines of text.
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
    """Divides words into cues.

    Args:
        words: The words in order.
        max_line_length: Maximum number of columns of a line. Only a single longer word may exceed it.
        max_lines: Maximum number of lines of a cue.
        max_duration: Maximum duration of a cue in seconds.
        min_duration: Minimum duration of a cue in seconds, unless the next cue starts earlier.
        max_pause: Maximum pause in seconds between two words of a cue.

    Raises:
        HFSpeechError: If the limits allow no text at all.
    """
    if min(max_line_length, max_lines) < 1 or not 0.001 <= max_duration >= min_duration:
        raise HFSpeechError(
            f"No subtitle fits into {max_lines} lines of {max_line_length} characters shown for {min_duration} to "
            f"{max_duration} s: allow at least a line, a character and a millisecond."
        )
    groups: list[list[Piece]] = []
    for piece in _pieces(words, max_line_length, max_duration):
        fits = (
            bool(groups)
            and piece.end - groups[-1][0].start <= max_duration
            and piece.start - groups[-1][-1].end <= max_pause
            and len(_wrap([*groups[-1], piece], max_line_length)) <= max_lines
        )
        if fits:
            groups[-1].append(piece)
        else:
            groups.append([piece])

    starts: list[int] = []
    for group in groups:
        starts.append(max(_milliseconds(group[0].start), starts[-1] + 1 if starts else 0))
    cues = []
    for index, (start, group) in enumerate(zip(starts, groups, strict=True)):
        end = max(_milliseconds(group[-1].end), start + _milliseconds(min_duration), start + 1)
        latest = starts[index + 1] if index + 1 < len(starts) else end
        cues.append(
            Cue(start, min(end, start + _milliseconds(max_duration), latest), tuple(_wrap(group, max_line_length)))
        )
    return cues


def _pieces(words: Iterable[Word], max_line_length: int, max_duration: float) -> Iterator[Piece]:
    """Yields the words, with those that are too long for a line or a cue divided into pieces."""
    for word in words:
        if column_width(word.text) > max_line_length or word.end - word.start > max_duration:
            yield from split_word(word)
        elif text := word.text.strip():
            yield Piece(text, word.start, word.end, True)


def _wrap(pieces: Sequence[Piece], max_line_length: int) -> list[str]:
    """Joins pieces to lines, each as long as possible."""
    lines: list[str] = []
    for piece in pieces:
        longer = f"{lines[-1]}{' ' * piece.starts_word}{piece.text}" if lines else piece.text
        if lines and column_width(longer) <= max_line_length:
            lines[-1] = longer
        else:
            lines.append(piece.text)
    return lines


def to_srt(cues: Sequence[Cue]) -> str:
    """Formats cues as SubRip. As it has no escapes, `-->` in the text is written as `-- >`."""
    blocks = (
        f"{number}\n{_time(cue.start, ',')} --> {_time(cue.end, ',')}\n" + _text(cue).replace("-->", "-- >") + "\n"
        for number, cue in enumerate(cues, start=1)
    )
    return "\n".join(blocks)


def to_vtt(cues: Sequence[Cue]) -> str:
    """Formats cues as WebVTT, with `&`, `<` and `>` escaped."""
    blocks = (
        f"{_time(cue.start, '.')} --> {_time(cue.end, '.')}\n" + html.escape(_text(cue), quote=False) + "\n"
        for cue in cues
    )
    return "\n".join(["WEBVTT\n", *blocks])


def _text(cue: Cue) -> str:
    """Joins the lines of a cue, without blank lines, which would end the cue."""
    return "\n".join(" ".join(line.split()) for line in cue.lines)


def to_json(
    words: Sequence[Word], *, file: str | None = None, nbest: Iterable[Hypothesis] = (), indent: int | None = 2
) -> str:
    """Formats the text, and the words with times in seconds and confidences, as JSON.

    Args:
        words: The words in order.
        file: The name of the audio file.
        nbest: Hypotheses to include as a list, with scores and words.
        indent: Spaces of indentation; None writes one line.
    """
    content: dict[str, Any] = {} if file is None else {"file": file}
    content |= _describe(words)
    if rows := [{"score": round(other.score, 4), **_describe(other.words)} for other in nbest]:
        content["nbest"] = rows
    return json.dumps(content, indent=indent, ensure_ascii=False) + "\n"


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
    """Formats a time as `HH:MM:SS` and milliseconds, separated by `point`. Hours may have more digits."""
    seconds, milliseconds = divmod(milliseconds, 1000)
    minutes, seconds = divmod(seconds, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours:02}:{minutes:02}:{seconds:02}{point}{milliseconds:03}"
