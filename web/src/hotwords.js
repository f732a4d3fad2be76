// Spelling of hot words, which are preferred words such as names, like in `hf_speech.decoding.words`.

/** Thrown if a hot word cannot be recognized. The message is a sentence for the user. */
export class HotWordError extends Error {}

/**
 * Returns a word in a case and Unicode form that the model's letters can write.
 * @param {string} word
 * @param {Set<string>} letters The model's tokens of one character.
 * @throws {HotWordError} If the letters cannot write it.
 */
export function spellHotWord(word, letters) {
  for (const text of [word, word.toUpperCase(), word.toLowerCase()]) {
    const plain = text.normalize("NFC").replace(/[‘’‛ʼʻʽˈ`´΄]/g, "'");
    const forms = [text, ...[text, plain].flatMap((form) => [form.normalize("NFC"), form.normalize("NFD")])];
    const spelling = forms.find((form) => form && Array.from(form).every((letter) => letters.has(letter)));
    if (spelling) return spelling;
  }
  throw new HotWordError(`The word "${word}" has letters that this model does not write: leave it out.`);
}
