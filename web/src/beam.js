// Decoding with a language model of logits that arrive in pieces. A recording over 20 seconds is cut in pauses, as
// `hf_speech.decoding.pauses` cuts it: each part is a sentence for the language model, and memory stays bounded.

import { align } from "./align.js";
import { makeWord } from "./ctc.js";

const SHORT_SECONDS = 20; // A recording up to this length is not cut.
const PAUSE_SECONDS = 1; // Silence in whose middle the recording is cut.
const LONG_SECONDS = 30; // A part that is longer is cut at the next delimiter,
const MAX_SECONDS = 60; // and one of this length anywhere.
const FLOOR = -1e4; // Probabilities of 0 stay finite.

/** @typedef {import("./ctc.js").Word} Word */
/** @typedef {import("./search.js").Hypothesis[]} Beam */

/** The words of the best text. They may change until a pause of a second follows. */
export class BeamDecoder {
  /**
   * @param {import("./model.js").Description} description
   * @param {import("./search.js").BeamSearch} search
   */
  constructor({ labels, samples_per_frame: samples, sampling_rate: rate }, search) {
    this.labels = labels;
    this.search = search;
    this.secondsPerFrame = samples / rate;
    /** @type {Word[]} */
    this.finished = [];
    this.isCut = false;
    this.part = this.#newPart(0);
  }

  /** @param {number} first Its first frame in the recording. */
  #newPart(first) {
    return {
      first,
      frames: /** @type {Float32Array[]} */ ([]),
      beam: this.search.begin(),
      hasSpeech: false,
      silence: 0, // Frames without a token at its end.
      middle: /** @type {{ beam: Beam, count: number } | undefined} */ (undefined), // Of the pause at its end.
      words: /** @type {Word[] | undefined} */ (undefined), // Once they are asked for.
    };
  }

  /**
   * Reads the next frames.
   * @param {Float32Array} logits `(frames, labels)`.
   */
  accept(logits) {
    for (let at = 0; at < logits.length; at += this.labels.length) {
      this.#read(this.#logProbs(logits.subarray(at, at + this.labels.length)));
    }
  }

  /** @param {Float32Array} logits */
  #logProbs(logits) {
    const largest = Math.max(...logits);
    const sum = Math.log(logits.reduce((total, logit) => total + Math.exp(logit - largest), 0));
    const logProbs = new Float32Array(this.search.size).fill(-Infinity);
    logits.forEach((logit, id) => (logProbs[id] = Math.max(FLOOR, logit - largest - sum)));
    return logProbs;
  }

  /** @param {Float32Array} frame */
  #read(frame) {
    const { part, search } = this;
    part.words = undefined;
    part.frames.push(frame);
    part.beam = search.step(part.beam, frame);
    const best = frame.indexOf(Math.max(...frame));
    const isSilent = best === search.blank || best === search.delimiter;
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
      else if (seconds > MAX_SECONDS || (seconds > LONG_SECONDS && best === search.delimiter)) this.#cut(now);
    }
  }

  /** @param {{ beam: Beam, count: number }} place */
  #cut({ beam, count }) {
    this.finished.push(...this.#words(beam, this.part.frames.slice(0, count)));
    this.#restart(count);
  }

  /** @param {number} count Frames of this part that do not belong to the next one. */
  #restart(count) {
    const { first, frames } = this.part;
    this.part = this.#newPart(first + count);
    for (const frame of frames.slice(count)) this.#read(frame);
  }

  /**
   * @param {Beam} beam
   * @param {Float32Array[]} frames Of the part.
   */
  #words(beam, frames) {
    /** @type {Parameters<typeof makeWord>[0][]} */
    const words = [[]];
    for (const { id, start, end, probability } of align(frames, this.search.best(beam), this.search.blank)) {
      const [from, to] = [start, end].map((frame) => (this.part.first + frame) * this.secondsPerFrame);
      if (id === this.search.delimiter) words.push([]);
      else words[words.length - 1].push({ text: this.labels[id], start: from, end: to, probability });
    }
    return words.filter((tokens) => tokens.length).map(makeWord);
  }

  /** All words so far. */
  get words() {
    this.part.words ??= this.#words(this.part.beam, this.part.frames);
    return [...this.finished, ...this.part.words];
  }

  /** The words, separated by spaces. */
  get text() {
    return this.words.map((word) => word.text).join(" ");
  }
}
