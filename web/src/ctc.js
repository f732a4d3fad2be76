// Best-path decoding of logits that arrive in pieces, like `hf_speech.decoding.greedy`: takes the most likely token of each
// frame, merges repetitions and removes blanks.

/**
 * A word with its times.
 * @typedef {object} Word
 * @property {string} text
 * @property {number} start Seconds from the beginning of the recording.
 * @property {number} end Seconds from the beginning of the recording.
 * @property {number} confidence The lowest probability of its tokens, where a token has its highest one in any frame.
 * @property {{ text: string, start: number, end: number }[]} tokens
 */

/** Finds the words along the best path. */
export class GreedyDecoder {
  /** @param {import("./model.js").Description} description */
  constructor({ labels, blank, word_delimiter: delimiter, samples_per_frame: samples, sampling_rate: rate }) {
    this.labels = labels;
    this.blank = blank;
    this.delimiter = delimiter;
    this.secondsPerFrame = samples / rate;
    this.frames = 0;
    this.previous = blank;
    /** @type {Word[]} */
    this.finished = [];
    /** @type {{ text: string, start: number, end: number, probability: number }[]} */
    this.tokens = []; // The tokens of the unfinished word.
  }

  /**
   * Reads the next frames.
   * @param {import("./model.js").Logits} logits
   */
  accept({ logits }) {
    const size = this.labels.length;
    for (let first = 0; first < logits.length; first += size) {
      let best = 0;
      for (let id = 1; id < size; id++) if (logits[first + id] > logits[first + best]) best = id;
      let sum = 0;
      for (let id = 0; id < size; id++) sum += Math.exp(logits[first + id] - logits[first + best]);
      this.#frame(best, 1 / sum);
    }
  }

  /**
   * @param {number} id
   * @param {number} probability
   */
  #frame(id, probability) {
    const start = this.frames++ * this.secondsPerFrame;
    const end = this.frames * this.secondsPerFrame;
    const token = this.tokens.at(-1);
    if (id === this.blank || this.labels[id] === this.delimiter) {
      if (id !== this.blank) this.#finishWord();
    } else if (id === this.previous && token) {
      token.end = end;
      token.probability = Math.max(token.probability, probability);
    } else {
      this.tokens.push({ text: this.labels[id], start, end, probability });
    }
    this.previous = id;
  }

  /** Ends the recording, which has no effect in greedy decoding. */
  finish() {}

  #finishWord() {
    if (this.tokens.length) this.finished.push(makeWord(this.tokens));
    this.tokens = [];
  }

  /** All words so far; the last one may become longer. */
  get words() {
    return this.tokens.length ? [...this.finished, makeWord(this.tokens)] : this.finished.slice();
  }

  /** The words, separated by spaces. */
  get text() {
    return this.words.map((word) => word.text).join(" ");
  }
}

/**
 * @param {{ text: string, start: number, end: number, probability: number }[]} tokens
 * @returns {Word}
 */
export function makeWord(tokens) {
  return {
    text: tokens.map((token) => token.text).join(""),
    start: tokens[0].start,
    end: tokens[tokens.length - 1].end,
    confidence: Math.min(...tokens.map((token) => token.probability)),
    tokens: tokens.map(({ text, start, end }) => ({ text, start, end })),
  };
}
