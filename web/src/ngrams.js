// An n-gram language model with back-off, from a file of `hf_speech.export.packed_ngrams`.

import { download, ModelError } from "./download.js";

const STEPS = 2048; // Quantization steps per unit of a base-10 logarithm.
const ARRAYS = { U8: Uint8Array, U16: Uint16Array, U32: Uint32Array, I16: Int16Array, I32: Int32Array };

/**
 * The options of a language model in `export.json`.
 * @typedef {object} Options
 * @property {string} file
 * @property {number} bytes
 * @property {string} sha256
 * @property {number} start The history at the beginning of a sentence.
 * @property {number} end The id of the end of a sentence.
 * @property {number} unknown The id of unknown words.
 * @property {number} lm_weight
 * @property {number} word_score
 * @property {number} beam_size
 * @property {boolean} search_phones Whether the search uses phones, and letters rescore its texts, instead of letters.
 * @property {number} num_phones Number of phones that the recognizer predicts, including the blank (0).
 * @property {number} rescoring_weight Weight of the log probability of the rescoring tokens; 0 for no rescoring.
 */

/** A language model. A history is a node in the trie of n-grams, that of its longest known suffix; node 0 has no words. */
export class NgramModel {
  /**
   * @param {Options} options
   * @param {Record<string, any>} arrays
   */
  constructor(options, { symbols, children, log_probs, backoffs, tokens, spellings, pronunciations }) {
    this.options = options;
    this.symbols = symbols; // The last word of each node except 0.
    this.logProbs = log_probs;
    this.backoffs = backoffs;
    /** Ids of the recognizer's tokens, for a character model. @type {Int32Array | undefined} */
    this.tokens = tokens;
    /** The spelling of each word, empty if it cannot be written. @type {string[] | undefined} */
    this.spellings = spellings && new TextDecoder().decode(spellings).split("\n");
    /** The phones of each word, empty if unknown. @type {number[][] | undefined} */
    this.pronunciations = pronunciations && split(pronunciations);
    // The children of `node` are `first[node]` to `first[node + 1]`, sorted by word.
    this.first = new Uint32Array(children.length + 1);
    for (let node = 0, next = 1; node <= children.length; next += children[node++]) this.first[node] = next;
    this.suffixes = new Uint32Array(children.length);
    for (let parent = 1; parent < children.length; parent++) {
      for (let node = this.first[parent]; node < this.first[parent + 1]; node++) {
        let [suffix, found] = [parent, 0];
        while (!found && suffix) {
          suffix = this.suffixes[suffix];
          found = this.#find(suffix, symbols[node - 1]);
        }
        this.suffixes[node] = found;
      }
    }
  }

  /**
   * Returns a character model with equal probability for all texts.
   * @param {number} size The number of tokens.
   */
  static none(size) {
    const numbers = { start: 0, end: 0, unknown: 0, lm_weight: 0, word_score: 0, beam_size: 100 };
    const options = { file: "", bytes: 0, sha256: "", ...numbers, search_phones: false, num_phones: 0, rescoring_weight: 0 };
    const [children, log_probs, backoffs] = [0, 0, 0].map((number) => Int16Array.of(number));
    return new NgramModel(options, { symbols: [], children, log_probs, backoffs, tokens: new Int32Array(size + 1) });
  }

  /**
   * @param {URL} folder
   * @param {Options} options
   * @param {(loaded: number, total: number) => void} onProgress
   */
  static async load(folder, options, onProgress) {
    const url = new URL(options.file, folder);
    const content = await download(url, options.bytes, onProgress, options.sha256);
    try {
      return new NgramModel(options, readTensors(content));
    } catch (error) {
      throw new ModelError(`${url} is no language model (${error}): export the model again.`);
    }
  }

  /**
   * Returns the child of a node for a word, or 0 if there is none.
   * @param {number} parent
   * @param {number} word
   */
  #find(parent, word) {
    let [low, high] = [this.first[parent], this.first[parent + 1]];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.symbols[middle - 1] < word) low = middle + 1;
      else high = middle;
    }
    return low < this.first[parent + 1] && this.symbols[low - 1] === word ? low : 0;
  }

  /**
   * Adds a word to a history.
   * @param {number} history
   * @param {number} word
   * @returns {[number, number]} The new history, and the natural logarithm of the word's probability.
   */
  advance(history, word) {
    let steps = 0;
    let node = this.#find(history, word);
    while (!node && history) {
      steps += this.backoffs[history];
      history = this.suffixes[history];
      node = this.#find(history, word);
    }
    return [node, ((steps + this.logProbs[node]) / STEPS) * Math.LN10];
  }
}

/**
 * Splits an array into parts that are each terminated by a 0.
 * @param {Uint8Array | Uint16Array} numbers
 */
function split(numbers) {
  const parts = [];
  for (let first = 0, end = 0; first < numbers.length; first = end + 1) {
    end = numbers.indexOf(0, first);
    parts.push(Array.from(numbers.subarray(first, end)));
  }
  return parts;
}

/**
 * Reads the arrays of a safetensors file.
 * @param {Uint8Array<ArrayBuffer>} content
 */
function readTensors(content) {
  const size = Number(new DataView(content.buffer).getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(content.subarray(8, 8 + size)));
  /** @type {Record<string, any>} */
  const arrays = {};
  for (const [name, { dtype, data_offsets: offsets }] of Object.entries(header)) {
    const bytes = content.slice(8 + size + offsets[0], 8 + size + offsets[1]);
    arrays[name] = new ARRAYS[/** @type {keyof typeof ARRAYS} */ (dtype)](bytes.buffer);
  }
  return arrays;
}
