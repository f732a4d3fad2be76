// An exported model: its description and an onnxruntime session. The graphs take waveforms, so no features are computed.

import { BeamDecoder } from "./beam.js";
import { GreedyDecoder } from "./ctc.js";
import { download, get, ModelError } from "./download.js";
import { NgramModel } from "./ngrams.js";
import { ort, prepareRuntime } from "./runtime.js";
import { BeamSearch } from "./search.js";

const add = (/** @type {number} */ a, /** @type {number} */ b) => a + b;

/**
 * The content of `export.json`.
 * @typedef {object} Description
 * @property {number} format 1.
 * @property {string} task "automatic-speech-recognition", "audio-classification" or "keyword-spotting".
 * @property {string} name The model's name.
 * @property {string} revision The digest of the weights.
 * @property {number} sampling_rate In Hz.
 * @property {number} min_samples Minimal number of samples of a clip.
 * @property {string[]} labels Classes or tokens, in the order of the logits.
 * @property {number} samples_per_frame Samples per logit frame; 0 for a classifier.
 * @property {number} blank Id of the CTC blank.
 * @property {string} word_delimiter The token between words.
 * @property {Record<string, (number | string)[]>} states States of a stream with their initial shapes; empty without one.
 * @property {number} latency Of a stream: seconds from the beginning of a logit frame until it is computed.
 * @property {string} [detector] The file with the tuned thresholds of a keyword spotter.
 * @property {import("./ngrams.js").Options} [language_model] The options of the language model, if there is one.
 * @property {Record<string, { precision: string, bytes: number, sha256: string }>} files The ONNX files.
 */

/**
 * The output of a model.
 * @typedef {object} Logits
 * @property {Float32Array} logits `(frames, tokens)`, or `(labels,)` for a classifier.
 * @property {Float32Array} [phones] `(frames, phones)`, if the model predicts phones.
 */

/**
 * @typedef {object} LoadOptions
 * @property {string} [precision] The precision of the file: "float32" (default), "packed" (a quarter of the size, as in
 *   static Spaces), or "int8" (slow in WebAssembly).
 * @property {boolean} [languageModel] Whether to use the language model in the folder, if there is one; true by default.
 * @property {(loaded: number, total: number) => void} [onProgress] Called with bytes during the download.
 */

/** An exported model, ready to run. */
export class Model {
  /**
   * @param {URL} folder
   * @param {Description} description
   * @param {ort.InferenceSession} session
   * @param {boolean} isStream Whether the session is for streaming.
   * @param {NgramModel} [languageModel]
   */
  constructor(folder, description, session, isStream, languageModel) {
    this.folder = folder;
    this.description = description;
    this.session = session;
    this.isStream = isStream;
    this.languageModel = languageModel;
    /** The search of the next decoder; without it, decoding is greedy. @type {BeamSearch | undefined} */
    this.search = languageModel && new BeamSearch(description, languageModel);
  }

  /**
   * See `Recognizer.setHotWords`.
   * @param {string[]} words
   * @param {number} [score]
   */
  setHotWords(words, score) {
    const model = this.languageModel ?? (words.length ? NgramModel.none(this.description.labels.length) : undefined);
    this.search = model && new BeamSearch(this.description, model, words, score);
  }

  /** Makes a decoder for logits that arrive in pieces. */
  decoder() {
    return this.search ? new BeamDecoder(this.description, this.search) : new GreedyDecoder(this.description);
  }

  /**
   * Downloads an exported model and verifies its checksum.
   * @param {string | URL} url The output folder of `hf-speech export`.
   * @param {string} task The expected task.
   * @param {LoadOptions} [options]
   * @throws {ModelError} If it cannot be loaded, is damaged, or has another task.
   */
  static async load(url, task, { precision = "float32", languageModel: useLanguageModel = true, onProgress } = {}) {
    const folder = new URL(`${url}`.replace(/\/?$/, "/"), globalThis.location?.href);
    const loaded = [0, 0, 0];
    const total = [0, 0, 0];
    /** @param {number} part */
    const report = (part) => (/** @type {number} */ now, /** @type {number} */ of) => {
      loaded[part] = now;
      total[part] = of;
      onProgress?.(loaded.reduce(add), total.reduce(add));
    };
    const runtime = prepareRuntime(report(1)); // Started first, because it is the largest download.
    runtime.catch(() => {}); // It is awaited below, unless something else fails first.
    const description = /** @type {Description} */ (await (await get(new URL("export.json", folder))).json());
    if (description.format !== 1) throw new ModelError(`${folder} has format ${description.format}: update this page.`);
    if (description.task !== task) throw new ModelError(`${description.name} does ${description.task}, not ${task}.`);
    // Prefers the stream of a causal model, whose output equals that for the whole recording.
    const names = Object.keys(description.files).filter((file) => description.files[file].precision === precision);
    const name = names.find((file) => file.startsWith("stream")) ?? names[0];
    if (!name) throw new ModelError(`${description.name} has no files of precision ${precision}.`);
    const { bytes: size, sha256 } = description.files[name];
    const ngrams = useLanguageModel ? description.language_model : undefined;
    [total[0], total[2]] = [size, ngrams?.bytes ?? 0];
    const [content, languageModel] = await Promise.all([
      download(new URL(name, folder), size, report(0), sha256),
      ngrams && NgramModel.load(folder, ngrams, report(2)),
      runtime,
    ]);
    ort.env.wasm.numThreads = 1; // More threads do not help small recurrent networks.
    const session = await ort.InferenceSession.create(content, {
      executionProviders: ["wasm"],
      logSeverityLevel: 3,
      extra: { session: { disable_quant_qdq: "1" } }, // Unpacks packed weights once.
    });
    return new Model(folder, description, session, name.startsWith("stream"), languageModel);
  }

  /**
   * Computes the logits of a clip at the model's rate.
   * @param {Float32Array} samples
   * @returns {Promise<Logits>}
   */
  async run(samples) {
    const least = this.description.min_samples;
    if (samples.length < least) throw new RangeError(`The sound is too short: it needs ${least} samples at least.`);
    const feeds = {
      waveform: new ort.Tensor("float32", samples, [1, samples.length]),
      lengths: new ort.Tensor("int64", BigInt64Array.of(BigInt(samples.length)), [1]),
    };
    const names = ["logits", "phone_logits"].filter((name) => this.session.outputNames.includes(name));
    return this.read(await this.session.run(feeds, names));
  }

  /**
   * Returns the logits among the outputs of a session.
   * @param {Record<string, ort.Tensor>} outputs
   * @returns {Logits}
   */
  read({ logits, phone_logits: phones }) {
    const data = (/** @type {ort.Tensor} */ tensor) => /** @type {Float32Array} */ (tensor.data);
    return { logits: data(logits), phones: phones && data(phones) };
  }
}
