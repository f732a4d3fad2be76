// The steps of a beam search over CTC log-probabilities with a language model. It is `hf_speech.decoding.beam`, without hot
// words; what it maximizes, and its sources, are written there.

const THRESHOLD = 50; // How far below the best a hypothesis may fall.
const LOOKED_UP = 4; // Longer texts that are looked at in a step, as a multiple of the beam's size.
const CERTAINLY_BLANK = Math.log(0.999); // In such a frame no text becomes longer.

/**
 * A text, and what depends on nothing else.
 * @typedef {object} Text
 * @property {Text | null} parent The text without its last token.
 * @property {number} last The last token; at the beginning the delimiter.
 * @property {number} place The begun word in the trie of words; 0 between words.
 * @property {number} history Of the language model.
 * @property {number} score What the language model and the words add.
 * @property {Map<number, Text | null>} [longer] The texts with one more token; null if no word goes on so.
 */

/**
 * A text with the log-probabilities of its alignments that end in a blank, and of those that end in its last token.
 * @typedef {{ text: Text, blank: number, token: number }} Hypothesis
 */

export class BeamSearch {
  /**
   * @param {import("./model.js").Description} description
   * @param {import("./ngrams.js").NgramModel} model
   */
  constructor({ labels, blank, word_delimiter: delimiter }, model) {
    this.model = model;
    this.blank = blank;
    // A recognizer without a delimiter has one here that no frame emits.
    this.delimiter = labels.includes(delimiter) ? labels.indexOf(delimiter) : labels.length;
    this.size = Math.max(labels.length, this.delimiter + 1);
    /** The trie of words, by node and token; empty if any sequence of tokens is allowed. @type {Map<number, number>} */
    this.trie = new Map();
    this.wordAt = [-1]; // The word that ends at a node, or -1.
    this.ahead = [0]; // The best score of a word that begins so, without its context.
    if (model.spellings) this.#indexWords(model.spellings, new Map(labels.map((label, id) => [label, id])));
  }

  /**
   * @param {string[]} spellings
   * @param {Map<string, number>} ids
   */
  #indexWords(spellings, ids) {
    const parents = [0];
    spellings.forEach((spelling, word) => {
      if (!spelling) return;
      let node = 0;
      for (const letter of spelling) {
        const key = node * this.size + /** @type {number} */ (ids.get(letter));
        const next = this.trie.get(key) ?? parents.push(node) - 1;
        this.trie.set(key, next);
        node = next;
      }
      const score = this.model.options.lm_weight * this.model.advance(0, word)[1];
      if (score > (this.ahead[node] ?? -Infinity)) [this.ahead[node], this.wordAt[node]] = [score, word];
    });
    for (let node = parents.length - 1; node > 0; node--) {
      this.wordAt[node] ??= -1;
      this.ahead[node] ??= -Infinity;
      const parent = parents[node];
      if (parent) this.ahead[parent] = Math.max(this.ahead[parent] ?? -Infinity, this.ahead[node]);
    }
  }

  /**
   * The empty text alone.
   * @returns {Hypothesis[]}
   */
  begin() {
    const text = { parent: null, last: this.delimiter, place: 0, history: this.model.options.start, score: 0 };
    return [{ text, blank: 0, token: -Infinity }];
  }

  /**
   * The hypotheses after one more frame.
   * @param {Hypothesis[]} beam
   * @param {Float32Array} frame Log-probabilities `(size,)`.
   */
  step(beam, frame) {
    const next = beam.map(({ text, blank, token }) => {
      const total = logAdd(blank, token);
      // A delimiter behind a delimiter, or at the very beginning, leaves the text as it is.
      const repeated = text.last === this.delimiter ? total : token;
      return { text, blank: total + frame[this.blank], token: repeated + frame[text.last] };
    });
    if (frame[this.blank] > CERTAINLY_BLANK) return next;

    const sounds = new Float64Array(beam.length * this.size).fill(-Infinity);
    const ranks = sounds.slice();
    beam.forEach(({ text, blank, token }, row) => {
      const total = logAdd(blank, token);
      for (let id = 0; id < this.size; id++) {
        if (id === this.blank || (id === this.delimiter && text.last === id)) continue;
        sounds[row * this.size + id] = (id === text.last ? blank : total) + frame[id];
        ranks[row * this.size + id] = sounds[row * this.size + id] + text.score;
      }
    });
    const places = new Map(next.map((hypothesis) => [hypothesis.text, hypothesis]));
    const least = highest(ranks, LOOKED_UP * this.model.options.beam_size + 1);
    ranks.forEach((rank, index) => {
      if (rank < least || rank === -Infinity) return;
      const text = this.#longer(beam[Math.floor(index / this.size)].text, index % this.size);
      if (!text) return;
      const same = places.get(text);
      if (same) same.token = logAdd(same.token, sounds[index]);
      else next.push({ text, blank: -Infinity, token: sounds[index] });
    });
    const scores = Float64Array.from(next, ({ text, blank, token }) => logAdd(blank, token) + text.score);
    const lowest = Math.max(highest(scores, 1) - THRESHOLD, highest(scores, this.model.options.beam_size));
    return next.filter((_, index) => scores[index] >= lowest);
  }

  /**
   * A text with one more token; null if no word goes on so.
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
    if (!tokens) {
      const place = this.trie.get(text.place * this.size + id);
      if (!place) return null;
      score += this.ahead[place] - this.ahead[text.place];
      return { parent: text, last: id, place, history, score };
    }
    // A delimiter counts when the next word begins: at the end, it does not belong to the text.
    const begins = text.last === this.delimiter && text.parent;
    for (const symbol of begins ? [this.delimiter, id] : [id]) {
      const [after, logProb] = this.model.advance(history, tokens[symbol]);
      history = after;
      score += weight * logProb;
    }
    return { parent: text, last: id, place: 0, history, score };
  }

  /**
   * A text whose last word has ended; null if no word ends so.
   * @param {Text} text
   * @returns {Text | null}
   */
  #complete(text) {
    const { lm_weight: weight, word_score } = this.model.options;
    let { score, history } = text;
    score += word_score;
    if (!this.model.tokens) {
      const word = this.wordAt[text.place];
      if (word < 0) return null;
      const [after, logProb] = this.model.advance(history, word);
      history = after;
      score += weight * logProb - this.ahead[text.place];
    }
    return { parent: text, last: this.delimiter, place: 0, history, score };
  }

  /**
   * The tokens of the best text, of whole words if there is one, without a delimiter at its end.
   * @param {Hypothesis[]} beam
   */
  best(beam) {
    const { lm_weight: weight, end } = this.model.options;
    /** @type {Map<Text, number>} */
    const totals = new Map();
    let isWhole = false;
    for (const { text, blank, token } of beam) {
      const whole = text.last === this.delimiter ? text : this.#longer(text, this.delimiter);
      if (!whole && isWhole) continue;
      if (whole && !isWhole) totals.clear();
      isWhole ||= whole !== null;
      const { score, history } = whole ?? text;
      const total = logAdd(blank, token) + score + weight * this.model.advance(history, end)[1];
      const shown = text.last === this.delimiter && text.parent ? text.parent : text;
      totals.set(shown, logAdd(totals.get(shown) ?? -Infinity, total));
    }
    let [best, most] = [/** @type {Text | null} */ (null), -Infinity];
    for (const [text, total] of totals) if (!best || total > most) [best, most] = [text, total];
    const ids = [];
    for (; best?.parent; best = best.parent) ids.push(best.last);
    return ids.reverse();
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
 * The n-th highest number, or the lowest if there are fewer.
 * @param {Float64Array} numbers
 * @param {number} n
 */
function highest(numbers, n) {
  return numbers.slice().sort()[Math.max(0, numbers.length - n)];
}
