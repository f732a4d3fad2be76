// Keyword detection in streams, like in `hf_speech.inference.listening` and `hf_speech.decoding.keywords`, which explain it.

import { get } from "./download.js";
import { Model } from "./model.js";
import { resampled } from "./resample.js";
import { LogitStream } from "./stream.js";

const EPSILON = 1e-12;
const PIECE_SECONDS = 2; // Length of the pieces in which a recording is processed.

/** The rules of detection, as in `keywords.decoder.json`; the default threshold of a keyword is 0. */
const DETECTOR = { thresholds: /** @type {Record<string, number>} */ ({}), smoothing_frames: 3, refractory_frames: 25 };

/**
 * A detected keyword.
 * @typedef {object} KeywordEvent
 * @property {string} keyword
 * @property {number} time The end of the frame in which it was detected, in seconds.
 * @property {number} score The log odds of its probability: 0 is 50%, 4.6 is 99%.
 */

/** A keyword spotter exported by `hf-speech export`. */
export class KeywordListener {
  /**
   * @param {Model} model
   * @param {Partial<typeof DETECTOR>} [detector] The rules of detection.
   */
  constructor(model, detector) {
    this.model = model;
    this.detector = { ...DETECTOR, ...detector };
  }

  /**
   * Downloads a keyword spotter, with the thresholds of `hf-speech tune-detector` if there are any.
   * @param {string | URL} url The output folder of `hf-speech export`.
   * @param {import("./model.js").LoadOptions} [options]
   * @throws {import("./download.js").ModelError} If it cannot be loaded or is damaged.
   */
  static async load(url, options) {
    const model = await Model.load(url, "keyword-spotting", options);
    const file = model.description.detector;
    return new KeywordListener(model, file && (await (await get(new URL(file, model.folder))).json()));
  }

  /** The sampling rate of the model in Hz. */
  get rate() {
    return this.model.description.sampling_rate;
  }

  /** The keywords that it detects. */
  get keywords() {
    return this.model.description.labels.slice(1);
  }

  /** Starts a stream. */
  stream() {
    return new KeywordStream(this);
  }

  /**
   * Detects the keywords in a recording of any length.
   * @param {Float32Array | import("./chunks.js").Sound} sound Mono samples, or a function that yields them in pieces.
   * @param {number} rate Their sampling rate in Hz.
   * @param {(seconds: number, events: KeywordEvent[]) => void} [onProgress] Called with the position and all events so far.
   * @returns {Promise<KeywordEvent[]>}
   */
  async listen(sound, rate, onProgress) {
    const stream = this.stream();
    let samples = 0;
    for await (const piece of resampled(sound, rate, this.rate, PIECE_SECONDS)) {
      samples += piece.length;
      await stream.accept(piece);
      onProgress?.(samples / this.rate, stream.events);
    }
    await stream.finish();
    return stream.events;
  }
}

/** A stream in progress, from `KeywordListener.stream`. Its events do not depend on how the sound is cut into pieces. */
export class KeywordStream {
  /** @param {KeywordListener} listener */
  constructor({ model, detector, keywords }) {
    this.stream = new LogitStream(model);
    this.detector = detector;
    this.keywords = keywords;
    this.secondsPerFrame = model.description.samples_per_frame / model.description.sampling_rate;
    /** All events so far. @type {KeywordEvent[]} */
    this.events = [];
    this.frames = this.ready = 0;
    /** Log probabilities that each keyword is absent, for the last frames. @type {number[][]} */
    this.past = Array.from({ length: detector.smoothing_frames }, () => keywords.map(() => 0));
  }

  /**
   * Processes a piece of any length. Pieces are processed in the order of the calls.
   * @param {Float32Array} samples Mono, at the model's rate.
   * @param {{ final?: boolean }} [options] `final`: whether it is the last piece.
   * @returns {Promise<KeywordEvent[]>} The newly detected keywords.
   */
  async accept(samples, options) {
    const { logits } = await this.stream.accept(samples, options);
    const known = this.events.length;
    const size = this.keywords.length + 1;
    for (let first = 0; first < logits.length; first += size) this.#frame(logits.subarray(first, first + size));
    return this.events.slice(known);
  }

  /** Ends the stream and returns the keywords in the frames that waited for lookahead. See `accept`. */
  finish() {
    return this.accept(new Float32Array(0), { final: true });
  }

  /** @param {Float32Array} logits Of one frame; the first one stands for no keyword. */
  #frame(logits) {
    const largest = Math.max(...logits);
    const weights = Array.from(logits, (logit) => Math.exp(logit - largest));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    this.past.shift();
    this.past.push(weights.slice(1).map((weight) => Math.log1p(-Math.min(weight / sum, 1 - EPSILON))));
    const scores = this.keywords.map((_, index) => {
      const nowhere = this.past.reduce((total, frame) => total + frame[index], 0);
      return Math.log(-Math.expm1(nowhere) + EPSILON) - nowhere;
    });
    const above = scores.map((score, index) => score - (this.detector.thresholds[this.keywords[index]] ?? 0));
    const best = above.indexOf(Math.max(...above));
    const frame = this.frames++;
    if (above[best] < 0 || frame < this.ready) return;
    this.ready = frame + this.detector.refractory_frames;
    const time = Math.round(1000 * this.frames * this.secondsPerFrame) / 1000;
    this.events.push({ keyword: this.keywords[best], time, score: scores[best] });
  }
}
