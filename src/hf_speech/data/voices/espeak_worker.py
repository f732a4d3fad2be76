"""Synthesizes a list of utterances with eSpeak NG, as a separate program: `python espeak_worker.py JOBS.json`.

The library keeps state between utterances (phases of the voice source, random numbers) that cannot be reset, so
synthesizing the same text again gives different bytes. A new process that synthesizes a list in order always gives the
same bytes. It also isolates training from crashes in the C library.

JOBS.json is a list of `[text, voice, pitch, words per minute]`. The standard output is binary: the sampling rate, then
the number of samples (both uint32) and the samples (int16) of each job, all little-endian. Only the standard library
and `espeakng_loader` are imported, since importing the package would take longer than the synthesis.
"""

from __future__ import annotations

import ctypes
import json
import struct
import sys
from array import array
from typing import Any

# Constants of espeak-ng/speak_lib.h
_AUDIO_OUTPUT_SYNCHRONOUS = 2
_CHARS_UTF8 = 1
_POS_CHARACTER = 1
_RATE, _VOLUME, _PITCH = 1, 2, 3
_SYNTH_CALLBACK = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(ctypes.c_short), ctypes.c_int, ctypes.c_void_p)

# At full volume (100), loud voices would clip.
_SAFE_VOLUME = 50


def main(jobs_file: str) -> int:
    """Synthesizes all jobs of a file to the standard output, and returns the exit status."""
    import espeakng_loader

    with open(jobs_file, encoding="utf-8") as file:
        jobs = json.load(file)
    library = _open_library(espeakng_loader)
    buffer = array("h")

    @_SYNTH_CALLBACK
    def collect(samples: Any, count: int, events: Any) -> int:
        if samples and count:
            buffer.frombytes(ctypes.string_at(samples, 2 * count))
        return 0

    rate = library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
    if rate <= 0:
        return _fail("eSpeak NG found no data next to its library")
    library.espeak_SetSynthCallback(collect)
    library.espeak_ng_SetRandSeed(1)
    output = sys.stdout.buffer
    output.write(struct.pack("<I", rate))
    for text, voice, pitch, words_per_minute in jobs:
        if library.espeak_SetVoiceByName(voice.encode()) != 0:
            return _fail(f"eSpeak NG has no voice {voice!r}")
        library.espeak_SetParameter(_RATE, words_per_minute, 0)
        library.espeak_SetParameter(_PITCH, pitch, 0)
        library.espeak_SetParameter(_VOLUME, _SAFE_VOLUME, 0)
        encoded = text.encode()
        del buffer[:]
        library.espeak_Synth(encoded, len(encoded) + 1, 0, _POS_CHARACTER, 0, _CHARS_UTF8, None, None)
        library.espeak_Synchronize()
        if sys.byteorder == "big":
            buffer.byteswap()
        output.write(struct.pack("<I", len(buffer)) + buffer.tobytes())
    output.flush()
    return 0


def _open_library(loader: Any) -> ctypes.CDLL:
    library = ctypes.CDLL(str(loader.get_library_path()))
    uint, pointer = ctypes.c_uint, ctypes.c_void_p
    library.espeak_Synth.argtypes = [
        *(ctypes.c_char_p, ctypes.c_size_t, uint, ctypes.c_int, uint, uint, pointer, pointer)
    ]
    library.espeak_ng_SetRandSeed.argtypes = [ctypes.c_long]
    return library


def _fail(reason: str) -> int:
    print(reason, file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
