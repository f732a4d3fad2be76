// A language model of n-grams with back-off, from the file that `hf_speech.export.packed_ngrams` writes.

import { download, ModelError } from "./download.js";

const STEPS = 2048; // Of a base 10 logarithm.
const ARRAYS = { U8: Uint8Array, U16: Uint16Array, U32: Uint32Array, I16: Int16Array, I32: Int32Array };

/**
 * What `export.json` says of a language model.
 * @typedef {object} Options
 * @property {string} file
 * @property {number} bytes
 * @property {string} sha256
 * @property {number} start The history at the beginning of a sentence.
 * @property {number} end The id of the end of a sentence,
 * @property {number} unknown and that of words that it does not have.
 * @property {number} lm_weight
 * @property {number} word_score
 * @property {number} beam_size
 * @property {boolean} search_phones Whether the tokens of the search are phones, and letters rescore its texts, or letters.
 * @property {number} num_phones Phones that the recognizer predicts, and the blank (0).
 * @property {number} rescoring_weight Weight of the log-probability of the tokens that rescore; 0 if nothing does.
 */

/** A history is the number of a node in the trie of n-grams: that of its longest suffix there; 0 has no words. */
export class NgramModel {
  /**
   * @param {Options} options
   * @param {Record<string, any>} arrays
   */
  constructor(options, { symbols, children, log_probs, backoffs, tokens, spellings, pronunciations }) {
    this.options = options;
    this.symbols = symbols; // The last word of each node but 0.
    this.logProbs = log_probs;
    this.backoffs = backoffs;
    /** Ids of the recognizer's tokens, if this is a model of characters. @type {Int32Array | undefined} */
    this.tokens = tokens;
    /** How each word is written, empty if it cannot be. @type {string[] | undefined} */
    this.spellings = spellings && new TextDecoder().decode(spellings).split("\n");
    /** The phones of each word, none if they are not known. @type {number[][] | undefined} */
    this.pronunciations = pronunciations && split(pronunciations);
    // The nodes below `node` are those from `first[node]` to `first[node + 1]`, by their words.
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
   * A model of characters to which all texts are equally probable.
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
   * The node below another one by a word; 0 if there is none.
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
   * @returns {[number, number]} The history with it, and the natural logarithm of its probability.
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
 * The parts of an array behind each of which is a 0.
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
 * The arrays of a safetensors file.
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
