// Hot words: words to prefer, such as names, spelled as `hf_speech.decoding.words` spells them.

/** A hot word that cannot be recognized. The message is a sentence for the user. */
export class HotWordError extends Error {}

/**
 * A word in the form, upper or lower case, that the model has letters for.
 * @param {string} word
 * @param {Set<string>} letters Its tokens of one character.
 * @throws {HotWordError} If there is none.
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
