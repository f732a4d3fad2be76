// Speech recognition.

import { logitsInChunks } from "./chunks.js";
import { Model } from "./model.js";
import { resampled } from "./resample.js";
import { Stream } from "./stream.js";

/** @typedef {import("./ctc.js").Word} Word */
/** @typedef {import("./chunks.js").Sound} Sound */

const PIECE_SECONDS = 2; // Length of the pieces in which a recording is processed.

/**
 * A transcript.
 * @typedef {object} Transcript
 * @property {string} text The words, separated by spaces.
 * @property {Word[]} words The words with times in seconds and confidences.
 */

/** A recognizer exported by `hf-speech export`. */
export class Recognizer {
  /** @param {Model} model */
  constructor(model) {
    this.model = model;
  }

  /**
   * Downloads a recognizer.
   * @param {string | URL} url The output folder of `hf-speech export`.
   * @param {import("./model.js").LoadOptions} [options]
   * @throws {import("./download.js").ModelError} If it cannot be loaded or is damaged.
   */
  static async load(url, options) {
    return new Recognizer(await Model.load(url, "automatic-speech-recognition", options));
  }

  /** The sampling rate of the model in Hz. */
  get rate() {
    return this.model.description.sampling_rate;
  }

  /** Whether it can transcribe live. */
  get streams() {
    return this.model.isStream;
  }

  /**
   * Sets words to prefer, such as names, in the next recordings.
   * @param {string[]} words In upper or lower case.
   * @param {number} [score] Natural logarithm added per word: the default of 5 makes a word 150 times as likely.
   * @throws {import("./hotwords.js").HotWordError} If a word cannot be recognized; nothing changes in this case.
   */
  setHotWords(words, score) {
    this.model.setHotWords(words, score);
  }

  /**
   * Starts a recording that arrives in pieces.
   * @throws {RangeError} If the model needs whole recordings.
   */
  stream() {
    if (!this.streams) throw new RangeError(`${this.model.description.name} needs whole recordings: use transcribe.`);
    return new Stream(this.model);
  }

  /**
   * Transcribes a recording of any length, with memory for about a minute of sound.
   * @param {Float32Array | Sound} sound Mono samples, or a function that yields them in pieces.
   * @param {number} rate Their sampling rate in Hz.
   * @param {(seconds: number, words: Word[]) => void} [onProgress] Called with the position and the words so far.
   * @returns {Promise<Transcript>}
   */
  async transcribe(sound, rate, onProgress) {
    const decoder = this.model.decoder();
    for await (const { seconds, ...known } of this.logits(sound, rate)) {
      decoder.accept(known);
      onProgress?.(seconds, decoder.words);
    }
    decoder.finish();
    return { text: decoder.text, words: decoder.words };
  }

  /**
   * Yields the logits of a recording, in order.
   * @param {Float32Array | Sound} sound See `transcribe`.
   * @param {number} rate In Hz.
   * @returns {AsyncGenerator<import("./model.js").Logits & { seconds: number }>} With the end of their time span.
   */
  async *logits(sound, rate) {
    const pieces = () => resampled(sound, rate, this.rate, PIECE_SECONDS);
    if (!this.streams) {
      yield* logitsInChunks(this.model, pieces);
      return;
    }
    const stream = this.stream();
    let samples = 0;
    for await (const piece of pieces()) {
      samples += piece.length;
      yield { ...(await stream.accept(piece)), seconds: samples / this.rate };
    }
    yield { ...(await stream.finish()), seconds: samples / this.rate };
  }
}
