// Long recordings for models that need the future: chunks that overlap, as `hf_speech.inference.chunks` makes them. The
// overlap is discarded, so that every frame is computed with context on both sides. Models that normalize by utterance or
// by peak normalize each chunk by itself: onnxruntime-web cannot set the optional input for a whole recording's statistics.

import { concatenate } from "./resample.js";

const CHUNK_SECONDS = 60;
const OVERLAP_SECONDS = 10;

/** @typedef {() => AsyncIterable<Float32Array>} Sound Gives the pieces of a recording from its beginning, at any call. */

/**
 * The logits of a recording of any length, in order.
 * @param {import("./model.js").Model} model
 * @param {Sound} sound At the model's rate.
 * @returns {AsyncGenerator<import("./model.js").Logits & { seconds: number }>} And how far that is.
 */
export async function* logitsInChunks(model, sound) {
  const { samples_per_frame: ratio, sampling_rate: rate } = model.description;
  const chunk = Math.round((CHUNK_SECONDS * rate) / ratio);
  const overlap = Math.round((OVERLAP_SECONDS * rate) / ratio);
  const pieces = sound()[Symbol.asyncIterator]();
  let samples = new Float32Array(0); // From logit frame `first` on.
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
