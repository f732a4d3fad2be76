// Runs speech models of the Python package hf_speech in the browser; README.md has an example.

export { Classifier } from "./classifier.js";
export { GreedyDecoder } from "./ctc.js";
export { ModelError } from "./download.js";
export { HotWordError } from "./hotwords.js";
export { KeywordListener } from "./keywords.js";
export { Model } from "./model.js";
export { Recognizer } from "./recognizer.js";
export { Resampler, resample } from "./resample.js";
export { Stream } from "./stream.js";
