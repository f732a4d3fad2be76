// A folder written by `hf-speech export`, opened: its description and one onnxruntime session. The graphs take waveforms,
// so nothing here computes features.

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
 * @property {string} revision Which weights these are.
 * @property {number} sampling_rate In Hz.
 * @property {number} min_samples Samples that a clip must have at least.
 * @property {string[]} labels Classes, or tokens, in the order of the logits.
 * @property {number} samples_per_frame Samples that a logit frame spans; of a classifier 0.
 * @property {number} blank Id of the CTC blank.
 * @property {string} word_delimiter The token between words.
 * @property {Record<string, (number | string)[]>} states States of a stream with their first shapes; empty if it cannot.
 * @property {number} latency Of a stream: seconds from the beginning of a logit frame until it is known.
 * @property {string} [detector] The file with the thresholds of a keyword spotter, if they were tuned.
 * @property {import("./ngrams.js").Options} [language_model] The language model, if there is one.
 * @property {Record<string, { precision: string, bytes: number, sha256: string }>} files The ONNX files.
 */

/**
 * What a model says of each frame.
 * @typedef {object} Logits
 * @property {Float32Array} logits `(frames, tokens)`; of a classifier `(labels,)`.
 * @property {Float32Array} [phones] `(frames, phones)`, if the model predicts phones as well.
 */

/**
 * @typedef {object} LoadOptions
 * @property {string} [precision] That of the file: "float32", the default; "packed", a quarter of the size, for which a
 *   static Space is made; or "int8", which is slow in WebAssembly.
 * @property {boolean} [languageModel] Whether to use the language model in the folder, if there is one; true by default.
 * @property {(loaded: number, total: number) => void} [onProgress] Called with bytes during the download.
 */

/** An exported model, ready to run. */
export class Model {
  /**
   * @param {URL} folder
   * @param {Description} description
   * @param {ort.InferenceSession} session
   * @param {boolean} isStream Whether the session is of a stream.
   * @param {NgramModel} [languageModel]
   */
  constructor(folder, description, session, isStream, languageModel) {
    this.folder = folder;
    this.description = description;
    this.session = session;
    this.isStream = isStream;
    this.languageModel = languageModel;
    /** What the next decoder searches with; without it, decoding is greedy. @type {BeamSearch | undefined} */
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

  /** A decoder of logits that arrive in pieces. */
  decoder() {
    return this.search ? new BeamDecoder(this.description, this.search) : new GreedyDecoder(this.description);
  }

  /**
   * Downloads an exported model and checks that it arrived undamaged.
   * @param {string | URL} url The folder that `hf-speech export` wrote.
   * @param {string} task The task that it must have.
   * @param {LoadOptions} [options]
   * @throws {ModelError} If there is no such model, or it is damaged.
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
    const runtime = prepareRuntime(report(1)); // The largest download, so the first one.
    runtime.catch(() => {}); // Awaited below, unless something else fails before.
    const description = /** @type {Description} */ (await (await get(new URL("export.json", folder))).json());
    if (description.format !== 1) throw new ModelError(`${folder} has format ${description.format}: update this page.`);
    if (description.task !== task) throw new ModelError(`${description.name} does ${description.task}, not ${task}.`);
    // The stream of a causal model gives what the whole recording would.
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
    ort.env.wasm.numThreads = 1; // Small recurrent networks gain nothing from more.
    const session = await ort.InferenceSession.create(content, {
      executionProviders: ["wasm"],
      logSeverityLevel: 3,
      extra: { session: { disable_quant_qdq: "1" } }, // Packed weights are unpacked once.
    });
    return new Model(folder, description, session, name.startsWith("stream"), languageModel);
  }

  /**
   * The logits of a clip at the model's rate.
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
   * The logits among the outputs of the session.
   * @param {Record<string, ort.Tensor>} outputs
   * @returns {Logits}
   */
  read({ logits, phone_logits: phones }) {
    const data = (/** @type {ort.Tensor} */ tensor) => /** @type {Float32Array} */ (tensor.data);
    return { logits: data(logits), phones: phones && data(phones) };
  }
}
