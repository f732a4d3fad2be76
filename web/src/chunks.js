// Processes long recordings in overlapping chunks, like `hf_speech.inference.chunks`, for models that need future context.
// The overlap is discarded, so that every frame has context on both sides. Models that normalize over the utterance or by
// its peak normalize each chunk, because onnxruntime-web cannot set the optional input for the recording's statistics.

import { concatenate } from "./resample.js";

const CHUNK_SECONDS = 60;
const OVERLAP_SECONDS = 10;

/** @typedef {() => AsyncIterable<Float32Array>} Sound Yields the pieces of a recording from its beginning. */

/**
 * Yields the logits of a recording of any length, in order.
 * @param {import("./model.js").Model} model
 * @param {Sound} sound At the model's rate.
 * @returns {AsyncGenerator<import("./model.js").Logits & { seconds: number }>} With the end of their time span.
 */
export async function* logitsInChunks(model, sound) {
  const { samples_per_frame: ratio, sampling_rate: rate } = model.description;
  const chunk = Math.round((CHUNK_SECONDS * rate) / ratio);
  const overlap = Math.round((OVERLAP_SECONDS * rate) / ratio);
  const pieces = sound()[Symbol.asyncIterator]();
  let samples = new Float32Array(0); // Starting at logit frame `first`.
  let [first, known] = [0, 0];
  for (let isLast = false; !isLast; ) {
    while (!isLast && samples.length < (chunk + 1) * ratio) {
      const { done, value } = await pieces.next();
      if (done) isLast = true;
      else samples = concatenate([samples, value]);
    }
    const last = first + (isLast ? Math.floor(samples.length / ratio) : chunk);
    if (last > known) {
      const { logits, phones } = await model.run(isLast ? samples : samples.subarray(0, chunk * ratio));
      const end = isLast ? last : last - overlap;
      const [from, to] = [known - first, end - first];
      const part = (/** @type {Float32Array} */ all) => {
        const size = all.length / (last - first);
        return all.subarray(from * size, to * size);
      };
      known = end;
      yield { logits: part(logits), phones: phones && part(phones), seconds: (end * ratio) / rate };
    }
    samples = samples.slice((known - overlap - first) * ratio);
    first = known - overlap;
  }
}
