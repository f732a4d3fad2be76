// A beam search over CTC log probabilities with a language model and hot words. It corresponds to `hf_speech.decoding.beam`
// or, with pronunciations, `hf_speech.decoding.phone_search`, which document its objective and sources.

import { HotWordError, spellHotWord } from "./hotwords.js";

const THRESHOLD = 50; // Hypotheses further below the best score are dropped.
const LOOKED_UP = 4; // Extensions considered per step, as a multiple of the beam size.
const ALIKE = 4; // Maximal number of words with the same pronunciation that are distinguished.
const CERTAINLY_BLANK = Math.log(0.999); // No text is extended in a frame with such a blank.

/**
 * A text and its values, which do not depend on the frames.
 * @typedef {object} Text
 * @property {Text | null} parent The text without its last token.
 * @property {number} last The last token; the delimiter for the empty text.
 * @property {number} place The node of the unfinished word in the trie; 0 between words, -1 outside the trie.
 * @property {number} history The history of the language model.
 * @property {number} score The score of the language model and of its words.
 * @property {number} [word] The word that its last token completes.
 * @property {Map<number, Text | null>} [longer] The texts with one more token; null if no word continues with it.
 */

/**
 * A text with the log probabilities of its alignments that end in a blank, and of those that end in its last token.
 * @typedef {{ text: Text, blank: number, token: number }} Hypothesis
 */

/**
 * A text in the final beam.
 * @typedef {object} Candidate
 * @property {number[]} tokens Its tokens, without a delimiter at the end.
 * @property {number[]} words Indices of its words in `spellings`, unless the language model is a character model.
 * @property {boolean} isWhole Whether it consists of complete words.
 * @property {number} score
 */

/** A search over letters or, depending on the options of the language model, phones. */
export class BeamSearch {
  /**
   * @param {import("./model.js").Description} description
   * @param {import("./ngrams.js").NgramModel} model
   * @param {string[]} [hotWords] Words to prefer, which are added to the words of the language model.
   * @param {number} [hotWordScore] Score added per hot word.
   * @throws {HotWordError} If a hot word cannot be recognized.
   */
  constructor({ labels, blank, word_delimiter: delimiter }, model, hotWords = [], hotWordScore = 5) {
    const { search_phones: usesPhones, num_phones: phones } = model.options;
    this.model = model;
    this.usesPhones = usesPhones;
    this.blank = usesPhones ? 0 : blank;
    const size = usesPhones ? phones : labels.length;
    // Without a delimiter, as among phones, this is a token that no frame emits.
    this.delimiter = usesPhones || !labels.includes(delimiter) ? size : labels.indexOf(delimiter);
    /** The number of different sounds: tokens with equal ids modulo `size` sound the same. */
    this.size = Math.max(size, this.delimiter + 1);
    // The last phone of a word is a separate token, which distinguishes words that sound alike.
    this.copies = usesPhones ? ALIKE + 1 : 1;
    /** The trie of words by node and token; only of hot words if any text is allowed. @type {Map<number, number>} */
    this.trie = new Map();
    this.wordAt = [-1]; // The word that ends at a node, or -1.
    this.bonus = [0]; // The hot-word score of that word.
    this.ahead = [0]; // The best score, without context, of the words below a node.
    const ids = new Map(labels.map((label, id) => [label, id]));
    const letters = new Set(labels.filter((label, id) => Array.from(label).length === 1 && id !== blank && label !== delimiter));
    const hot = new Map(hotWords.map((word) => [spellHotWord(word, letters), hotWordScore]));
    /** All words that can be recognized: those of the language model, then further hot words. */
    this.spellings = [...(model.spellings ?? [])];
    const known = new Set(this.spellings);
    for (const word of hot.keys()) if (!known.has(word)) this.spellings.push(word);
    const tokens = usesPhones
      ? this.#tellApart(model.pronunciations ?? [])
      : this.spellings.map((word) => Array.from(word, (letter) => /** @type {number} */ (ids.get(letter))));
    for (const word of usesPhones ? hot.keys() : []) {
      if (tokens[this.spellings.indexOf(word)]?.length) continue;
      throw new HotWordError(`The pronunciation of "${word}" is not known: leave it out.`);
    }
    this.#indexWords(tokens, hot);
  }

  /**
   * Returns the id of a word in the language model.
   * @param {number} word
   */
  #id(word) {
    return word < (this.model.spellings?.length ?? 0) ? word : this.model.options.unknown;
  }

  /**
   * Returns pronunciations whose last token distinguishes words that sound alike.
   * @param {number[][]} pronunciations
   */
  #tellApart(pronunciations) {
    const alike = new Map();
    return pronunciations.map((phones) => {
      if (!phones.length) return phones;
      const number = 1 + (alike.get(`${phones}`) ?? 0);
      alike.set(`${phones}`, number);
      return [...phones.slice(0, -1), phones[phones.length - 1] + number * this.size];
    });
  }

  /**
   * @param {number[][]} words The tokens of each word, empty if it cannot be recognized.
   * @param {Map<string, number>} hot The scores of hot words.
   */
  #indexWords(words, hot) {
    const parents = [0];
    words.forEach((tokens, word) => {
      if (!tokens.length) return;
      let node = 0;
      for (const token of tokens) {
        const key = node * this.size * this.copies + token;
        const next = this.trie.get(key) ?? parents.push(node) - 1;
        this.trie.set(key, next);
        node = next;
      }
      const bonus = hot.get(this.spellings[word]) ?? 0;
      const score = this.model.options.lm_weight * this.model.advance(0, this.#id(word))[1] + bonus;
      if (score <= (this.ahead[node] ?? -Infinity)) return;
      [this.ahead[node], this.wordAt[node], this.bonus[node]] = [score, word, bonus];
    });
    for (let node = parents.length - 1; node > 0; node--) {
      this.wordAt[node] ??= -1;
      this.bonus[node] ??= 0;
      this.ahead[node] ??= -Infinity;
      const parent = parents[node];
      if (parent) this.ahead[parent] = Math.max(this.ahead[parent] ?? -Infinity, this.ahead[node]);
    }
  }

  /**
   * Returns the initial beam with the empty text.
   * @returns {Hypothesis[]}
   */
  begin() {
    const text = { parent: null, last: this.delimiter, place: 0, history: this.model.options.start, score: 0 };
    return [{ text, blank: 0, token: -Infinity }];
  }

  /**
   * Returns the hypotheses after one more frame.
   * @param {Hypothesis[]} beam
   * @param {Float32Array} frame Log probabilities `(size,)`.
   */
  step(beam, frame) {
    const { size, copies, model } = this;
    const next = beam.map(({ text, blank, token }) => {
      const total = logAdd(blank, token);
      // A delimiter after a delimiter, or at the beginning, does not change the text.
      const repeated = text.last === this.delimiter ? total : token;
      return { text, blank: total + frame[this.blank], token: repeated + frame[text.last % size] };
    });
    if (frame[this.blank] > CERTAINLY_BLANK) return next;

    const ranks = new Float64Array(beam.length * size).fill(-Infinity);
    beam.forEach(({ text, blank, token }, row) => {
      const [total, sound] = [logAdd(blank, token) + text.score, text.last % size];
      for (let id = 0; id < size; id++) {
        if (id === this.blank || (id === this.delimiter && text.last === id)) continue;
        ranks[row * size + id] = (id === sound ? blank + text.score : total) + frame[id];
      }
    });
    const places = new Map(next.map((hypothesis) => [hypothesis.text, hypothesis]));
    const number = LOOKED_UP * model.options.beam_size + 1;
    const cut = nthHighest(ranks, Math.ceil(number / copies));
    let ties = number - copies * ranks.reduce((count, rank) => count + Number(rank > cut), 0);
    beam.forEach(({ text: parent }, row) => {
      const sounds = ranks.subarray(row * size, (row + 1) * size);
      if (!sounds.some((rank) => rank >= cut)) return;
      for (let copy = 0; copy < copies; copy++) {
        for (let id = 0; id < size; id++) {
          const rank = sounds[id];
          if (rank < cut || rank === -Infinity) continue;
          if (rank === cut && --ties < 0) continue; // Of equal ranks, the first are used.
          const text = this.#longer(parent, copy * size + id);
          const same = text && places.get(text);
          if (same) same.token = logAdd(same.token, rank - parent.score);
          else if (text) next.push({ text, blank: -Infinity, token: rank - parent.score });
        }
      }
    });
    const scores = Float64Array.from(next, ({ text, blank, token }) => logAdd(blank, token) + text.score);
    const lowest = Math.max(nthHighest(scores, 1) - THRESHOLD, nthHighest(scores, model.options.beam_size));
    let free = model.options.beam_size - scores.reduce((count, score) => count + Number(score > lowest), 0);
    return next.filter((_, index) => scores[index] > lowest || (scores[index] === lowest && --free >= 0));
  }

  /**
   * Returns a text with one more token, or null if no word continues with it.
   * @param {Text} text
   * @param {number} id
   */
  #longer(text, id) {
    text.longer ??= new Map();
    let longer = text.longer.get(id);
    if (longer === undefined) {
      longer = id === this.delimiter ? this.#complete(text) : this.#continue(text, id);
      text.longer.set(id, longer);
    }
    return longer;
  }

  /**
   * @param {Text} text
   * @param {number} id
   * @returns {Text | null}
   */
  #continue(text, id) {
    const { lm_weight: weight } = this.model.options;
    let { score, history } = text;
    const { tokens } = this.model;
    const place = text.place < 0 ? undefined : this.trie.get(text.place * this.size * this.copies + id);
    if (!tokens) {
      if (!place) return null;
      score += this.ahead[place] - this.ahead[text.place];
      const longer = { parent: text, last: id, place, history, score };
      return id < this.size ? longer : this.#complete(longer, id, text);
    }
    // A delimiter is scored when the next word begins, because a final one does not belong to the text.
    const begins = text.last === this.delimiter && text.parent;
    for (const symbol of begins ? [this.delimiter, id] : [id]) {
      const [after, logProb] = this.model.advance(history, tokens[symbol]);
      history = after;
      score += weight * logProb;
    }
    return { parent: text, last: id, place: place ?? -1, history, score };
  }

  /**
   * Returns a text with its last word completed, or null if it is not a word.
   * @param {Text} text
   * @param {number} last The last token of the result.
   * @param {Text | null} parent The result without that token.
   * @returns {Text | null}
   */
  #complete(text, last = this.delimiter, parent = text) {
    const { lm_weight: weight, word_score } = this.model.options;
    const score = text.score + word_score + (this.bonus[text.place] ?? 0);
    if (this.model.tokens) return { parent, last, place: 0, history: text.history, score };
    const word = this.wordAt[text.place];
    if (word < 0) return null;
    const [history, logProb] = this.model.advance(text.history, this.#id(word));
    return { parent, last, place: 0, history, score: score + weight * logProb - this.ahead[text.place], word };
  }

  /**
   * Returns the texts in a beam; only those of complete words if there are any.
   * @param {Hypothesis[]} beam
   * @param {boolean} isOver Whether the sentence ends here.
   * @returns {Candidate[]}
   */
  candidates(beam, isOver = true) {
    const { lm_weight: weight, end } = this.model.options;
    /** @type {Map<Text, { text: Text, isWhole: boolean, score: number }>} */
    const found = new Map();
    let isWhole = false;
    for (const { text, blank, token } of beam) {
      const isComplete = this.usesPhones ? !text.place : text.last === this.delimiter;
      const whole = isComplete ? text : this.usesPhones ? null : this.#longer(text, this.delimiter);
      if (!whole && isWhole) continue;
      if (whole && !isWhole) found.clear();
      isWhole ||= whole !== null;
      const { score, history } = whole ?? text;
      const total = logAdd(blank, token) + score + (isOver ? weight * this.model.advance(history, end)[1] : 0);
      const shown = text.last === this.delimiter && text.parent ? text.parent : text;
      found.set(shown, { text: whole ?? text, isWhole, score: logAdd(found.get(shown)?.score ?? -Infinity, total) });
    }
    return Array.from(found, ([shown, { text, ...rest }]) => {
      const [tokens, words] = [[], []].map(() => /** @type {number[]} */ ([]));
      for (let at = shown; at.parent; at = at.parent) tokens.push(at.last);
      for (let at = text; at.parent; at = at.parent) if (at.word !== undefined) words.push(at.word);
      return { tokens: tokens.reverse(), words: words.reverse(), ...rest };
    });
  }
}

/**
 * @param {number} a
 * @param {number} b
 */
function logAdd(a, b) {
  const [low, high] = a < b ? [a, b] : [b, a];
  return low === -Infinity ? high : high + Math.log1p(Math.exp(low - high));
}

/**
 * Returns the n-th highest number, or -Infinity if there are fewer.
 * @param {Float64Array} numbers
 * @param {number} n
 */
function nthHighest(numbers, n) {
  if (n > numbers.length) return -Infinity;
  const sorted = numbers.slice(); // Sorted only as far as needed, with Hoare's selection algorithm.
  for (let low = 0, high = sorted.length - 1; low < high; ) {
    const pivot = sorted[(low + high) >> 1];
    let [left, right] = [low, high];
    while (left <= right) {
      while (sorted[left] > pivot) left++;
      while (sorted[right] < pivot) right--;
      if (left > right) break;
      [sorted[left], sorted[right]] = [sorted[right], sorted[left]];
      left++;
      right--;
    }
    if (n - 1 <= right) high = right;
    else if (n - 1 >= left) low = left;
    else break;
  }
  return sorted[n - 1];
}
