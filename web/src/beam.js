// Decodes logits that arrive in pieces with a language model. A recording over 20 seconds is cut at pauses, like in
// `hf_speech.decoding.pauses`: each part is a sentence for the language model, and memory is bounded. If the model predicts
// phones, letters rescore the texts of a search over phones, or phones those of a search over letters.
//
// During a recording, a word is shown as soon as the search finds it. The tokens that rescore it may follow a few frames
// later, so the last word may lack some of them, and the sentence is not assumed to end.

import { align } from "./align.js";
import { makeWord } from "./ctc.js";
import { fits, logProbability } from "./rescoring.js";

const SHORT_SECONDS = 20; // Recordings up to this length are not cut.
const PAUSE_SECONDS = 1; // Recordings are cut in the middle of a silence of this length.
const LONG_SECONDS = 30; // Parts longer than this are cut at the next delimiter,
const MAX_SECONDS = 60; // and parts of this length anywhere.
const FLOOR = -1e4; // Probabilities of 0 stay finite.

/** @typedef {import("./ctc.js").Word} Word */
/** @typedef {import("./search.js").Hypothesis[]} Beam */
/** @typedef {{ letters: Float32Array, phones?: Float32Array }} Frame Natural logarithms of probabilities. */

/** Finds the words of the best text, which may change until the recording ends or a pause of a second follows. */
export class BeamDecoder {
  /**
   * @param {import("./model.js").Description} description
   * @param {import("./search.js").BeamSearch} search
   */
  constructor({ labels, blank, word_delimiter: delimiter, samples_per_frame: samples, sampling_rate: rate }, search) {
    this.labels = labels;
    this.blank = blank;
    this.delimiter = labels.includes(delimiter) ? labels.indexOf(delimiter) : labels.length; // A token that no frame emits.
    this.search = search;
    this.secondsPerFrame = samples / rate;
    /** @type {Word[]} */
    this.finished = [];
    this.isCut = false;
    this.isOver = false;
    this.part = this.#newPart(0);
  }

  /** @param {number} first The first frame of the part. */
  #newPart(first) {
    return {
      first,
      frames: /** @type {Frame[]} */ ([]),
      beam: this.search.begin(),
      hasSpeech: false,
      silence: 0, // Number of frames without a letter at the end.
      middle: /** @type {{ beam: Beam, count: number } | undefined} */ (undefined), // The middle of the pause at the end.
      words: /** @type {Word[] | undefined} */ (undefined), // Computed on demand.
    };
  }

  /**
   * Reads the next frames.
   * @param {import("./model.js").Logits} logits
   */
  accept({ logits, phones }) {
    const [size, numPhones] = [this.labels.length, this.search.model.options.num_phones];
    for (let frame = 0; frame * size < logits.length; frame++) {
      this.#read({
        letters: logSoftmax(logits.subarray(frame * size, (frame + 1) * size)),
        phones: phones && numPhones ? logSoftmax(phones.subarray(frame * numPhones, (frame + 1) * numPhones)) : undefined,
      });
    }
  }

  /** @param {Frame} frame */
  #read(frame) {
    const { part, search } = this;
    part.words = undefined;
    part.frames.push(frame);
    part.beam = search.step(part.beam, (search.usesPhones && frame.phones) || frame.letters);
    const best = frame.letters.indexOf(Math.max(...frame.letters));
    const isSilent = best === this.blank || best === this.delimiter;
    part.silence = isSilent ? part.silence + 1 : 0;
    part.hasSpeech ||= !isSilent;

    const now = { beam: part.beam, count: part.frames.length };
    const [seconds, pause] = [now.count * this.secondsPerFrame, part.silence * this.secondsPerFrame];
    if (pause < PAUSE_SECONDS / 2) part.middle = undefined;
    else part.middle ??= now;
    if (!this.isCut && seconds > SHORT_SECONDS) {
      this.isCut = true;
      this.#restart(0);
    } else if (this.isCut && part.hasSpeech) {
      if (pause >= PAUSE_SECONDS && part.middle) this.#cut(part.middle);
      else if (seconds > MAX_SECONDS || (seconds > LONG_SECONDS && best === this.delimiter)) this.#cut(now);
    }
  }

  /** @param {{ beam: Beam, count: number }} place */
  #cut({ beam, count }) {
    this.finished.push(...this.#words(beam, this.part.frames.slice(0, count), true));
    this.#restart(count);
  }

  /** @param {number} count Number of frames at the beginning of this part that the next one does not include. */
  #restart(count) {
    const { first, frames } = this.part;
    this.part = this.#newPart(first + count);
    for (const frame of frames.slice(count)) this.#read(frame);
  }

  /**
   * @param {Beam} beam
   * @param {Frame[]} frames Of the part.
   * @param {boolean} isOver Whether the part ends there.
   */
  #words(beam, frames, isOver) {
    /** @type {Parameters<typeof makeWord>[0][]} */
    const words = [[]];
    const letters = frames.map((frame) => frame.letters);
    for (const { id, start, end, probability } of align(letters, this.#best(beam, frames, isOver), this.blank)) {
      const [from, to] = [start, end].map((frame) => (this.part.first + frame) * this.secondsPerFrame);
      if (id === this.delimiter) words.push([]);
      else words[words.length - 1].push({ text: this.labels[id], start: from, end: to, probability });
    }
    return words.filter((tokens) => tokens.length).map(makeWord);
  }

  /**
   * The letters of the best text.
   * @param {Beam} beam
   * @param {Frame[]} frames Of the part.
   * @param {boolean} isOver Whether the part ends there.
   */
  #best(beam, frames, isOver) {
    const { usesPhones, model } = this.search;
    let found = this.search.candidates(beam, isOver).sort((a, b) => b.score - a.score);
    if (usesPhones) {
      found = found.map((text) => ({ ...text, tokens: this.#spell(text.words).flat() }));
      found = found.filter(({ tokens }) => fits(tokens, frames.length));
    }
    const weight = model.options.rescoring_weight;
    const others = weight ? found.map((text) => (usesPhones ? this.#spell(text.words) : this.#pronounce(text))) : [];
    // If a text has a word without a pronunciation, the texts cannot be compared.
    const isRescored = weight && !others.includes(undefined);
    const sounds = isRescored ? frames.map(({ letters, phones }) => exponents((usesPhones ? letters : phones) ?? letters)) : [];
    let [best, most] = [/** @type {number[]} */ ([]), -Infinity];
    found.forEach(({ tokens, score }, index) => {
      if (index && score <= most && weight >= 0) return; // No probability is above 1.
      const words = others[index] ?? [];
      const begun = isOver ? 0 : (words.at(-1)?.length ?? 0);
      const blank = usesPhones ? this.blank : 0;
      const total = isRescored ? score + weight * logProbability(sounds, words.flat(), blank, begun) : score;
      if (!index || total > most) [best, most] = [tokens, total];
    });
    return best;
  }

  /**
   * The letters of each word, behind the delimiter between it and the one before.
   * @param {number[]} words
   */
  #spell(words) {
    return words.map((word, index) => {
      const letters = Array.from(this.search.spellings[word], (letter) => this.labels.indexOf(letter));
      return index ? [this.delimiter, ...letters] : letters;
    });
  }

  /**
   * Returns the phones of each word, or undefined if they are unknown.
   * @param {import("./search.js").Candidate} text
   */
  #pronounce({ words, isWhole }) {
    const phones = words.map((word) => this.search.model.pronunciations?.[word] ?? []);
    return isWhole && phones.every((word) => word.length) ? phones : undefined;
  }

  /** Ends the recording, which completes the last sentence. */
  finish() {
    this.isOver = true;
    this.part.words = undefined;
  }

  /** All words so far. */
  get words() {
    this.part.words ??= this.#words(this.part.beam, this.part.frames, this.isOver);
    return [...this.finished, ...this.part.words];
  }

  /** The words, separated by spaces. */
  get text() {
    return this.words.map((word) => word.text).join(" ");
  }
}

/**
 * Returns log probabilities, with one for a delimiter that the model does not have.
 * @param {Float32Array} logits
 */
function logSoftmax(logits) {
  const largest = Math.max(...logits);
  const sum = Math.log(logits.reduce((total, logit) => total + Math.exp(logit - largest), 0));
  const logProbs = new Float32Array(logits.length + 1).fill(-Infinity);
  logits.forEach((logit, id) => (logProbs[id] = Math.max(FLOOR, logit - largest - sum)));
  return logProbs;
}

/** @param {Float32Array} logarithms */
function exponents(logarithms) {
  return Float64Array.from(logarithms, Math.exp);
}
