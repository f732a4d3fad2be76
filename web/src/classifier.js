// Classification of clips.

import { Model } from "./model.js";
import { resample } from "./resample.js";

/** A classifier exported by `hf-speech export`. */
export class Classifier {
  /** @param {Model} model */
  constructor(model) {
    this.model = model;
  }

  /**
   * Downloads a classifier.
   * @param {string | URL} url The output folder of `hf-speech export`.
   * @param {import("./model.js").LoadOptions} [options]
   * @throws {import("./download.js").ModelError} If it cannot be loaded or is damaged.
   */
  static async load(url, options) {
    return new Classifier(await Model.load(url, "audio-classification", options));
  }

  /** The sampling rate of the model in Hz. */
  get rate() {
    return this.model.description.sampling_rate;
  }

  /**
   * Returns the logits of a clip, in the order of the labels.
   * @param {Float32Array} samples Mono.
   * @param {number} rate Their sampling rate in Hz.
   */
  async logits(samples, rate) {
    return (await this.model.run(resample(samples, rate, this.rate))).logits;
  }

  /**
   * Returns the classes of a clip, the most likely first.
   * @param {Float32Array} samples Mono.
   * @param {number} rate Their sampling rate in Hz.
   * @returns {Promise<{ label: string, probability: number }[]>}
   * @throws {RangeError} If the clip is too short.
   */
  async classify(samples, rate) {
    const logits = await this.logits(samples, rate);
    const largest = Math.max(...logits);
    const weights = Array.from(logits, (logit) => Math.exp(logit - largest));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    return this.model.description.labels
      .map((label, index) => ({ label, probability: weights[index] / sum }))
      .sort((a, b) => b.probability - a.probability);
  }
}
