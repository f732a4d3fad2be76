// Recordings that arrive in pieces. The output of a causal model equals that for the whole recording.

import { ort } from "./runtime.js";

/** The logits of a recording in progress. */
export class LogitStream {
  /** @param {import("./model.js").Model} model A model with a streaming session. */
  constructor(model) {
    this.model = model;
    /** @type {Record<string, ort.Tensor>} */
    this.states = {};
    for (const [name, shape] of Object.entries(model.description.states)) {
      const sizes = shape.map((size) => (typeof size === "number" ? size : 1));
      const length = sizes.reduce((product, size) => product * size, 1);
      this.states[name] = new ort.Tensor("float32", new Float32Array(length), sizes);
    }
    /** @type {Promise<unknown>} */
    this.last = Promise.resolve();
  }

  /**
   * Processes a piece of any length. Pieces are processed in the order of the calls.
   * @param {Float32Array} samples Mono, at the model's rate.
   * @param {{ final?: boolean }} [options] `final`: whether it is the last piece.
   * @returns {Promise<import("./model.js").Logits>} The new logits.
   */
  accept(samples, { final = false } = {}) {
    const result = this.last.then(() => this.#run(samples, final));
    this.last = result.catch(() => {});
    return result;
  }

  /** Ends the recording and returns the frames that waited for lookahead. See `accept`. */
  finish() {
    return this.accept(new Float32Array(0), { final: true });
  }

  /**
   * @param {Float32Array} samples
   * @param {boolean} final
   */
  async #run(samples, final) {
    const outputs = await this.model.session.run({
      waveform: new ort.Tensor("float32", samples, [1, samples.length]),
      final: new ort.Tensor("bool", [final], [1]),
      ...this.states,
    });
    for (const name of Object.keys(this.states)) this.states[name] = outputs[`next_${name}`];
    return this.model.read(outputs);
  }
}

/** A transcript in progress, from `Recognizer.stream`. */
export class Stream extends LogitStream {
  /** @param {import("./model.js").Model} model */
  constructor(model) {
    super(model);
    this.decoder = model.decoder();
  }

  /** The text so far. */
  get text() {
    return this.decoder.text;
  }

  /** The words so far. The last one may become longer, and a language model may change others. */
  get words() {
    return this.decoder.words;
  }

  /**
   * See `LogitStream.accept`.
   * @param {Float32Array} samples
   * @param {{ final?: boolean }} [options]
   */
  async accept(samples, options) {
    const logits = await super.accept(samples, options);
    this.decoder.accept(logits);
    if (options?.final) this.decoder.finish();
    return logits;
  }
}
