// Runs the model in a worker, so that the page stays responsive. The page sends `{ id, call, ...arguments }` and gets
// `{ id, result }` or `{ id, error }`, and `{ event, ... }` while a call runs.

import { Classifier, KeywordListener, Recognizer } from "./hf-speech/index.js";
import { openFile } from "./hf-speech/files.js";
import { concatenate, Resampler } from "./hf-speech/resample.js";
import { Picture } from "./picture.js";

const MAX_CLIP_SECONDS = 60; // For classification, which computes the clip in one piece.
const PAUSE = 150; // Minimal time between two reports in milliseconds.
const PICTURE_PAUSE = 600; // Minimal time between two pictures in milliseconds.

const KINDS = { "audio-classification": Classifier, "keyword-spotting": KeywordListener };

let model;
let newest = 0; // The number of the last recording; older ones are aborted.
let live;

const calls = {
  async load({ task, precision, languageModel }) {
    const Kind = KINDS[task] ?? Recognizer;
    const onProgress = (loaded, total) => postMessage({ event: "download", loaded, total });
    model = await Kind.load(new URL("model/", import.meta.url), { precision, languageModel, onProgress });
    const silence = new Float32Array(model.rate); // Warm-up, because the first run is slow.
    await (model instanceof Classifier ? model.classify(silence, model.rate) : read(silence, model.rate));
    return { rate: model.rate, streams: model.model.isStream, latency: model.model.description.latency };
  },

  expect({ words }) {
    model.setHotWords(words);
  },

  async file({ file }) {
    const reporter = new Reporter();
    const { rate, seconds, sound } = await openFile(file);
    reporter.duration = seconds;
    async function* pieces() {
      const resampler = new Resampler(rate, model.rate);
      for await (const piece of sound()) yield resampler.accept(piece);
      yield resampler.finish();
    }
    if (model instanceof Classifier) return classify(pieces, reporter);
    let drawn = 0; // A model that needs whole recordings may read the file several times.
    async function* seen() {
      let at = 0;
      for await (const piece of pieces()) {
        reporter.check();
        if (at >= drawn) reporter.picture.accept(piece);
        at += piece.length;
        drawn = Math.max(drawn, at);
        yield piece;
      }
    }
    return reporter.finish(await read(seen, model.rate, (now, found) => reporter.report(now, found)));
  },

  begin() {
    live = { reporter: new Reporter(), stream: model.model.isStream ? model.stream() : null, samples: 0, pieces: [] };
  },

  // Pieces that arrive while the model computes are joined, so that a slow machine can catch up.
  async accept({ samples }) {
    const now = live;
    now.pieces.push(samples);
    if (!now.stream || now.busy) return;
    now.busy = true;
    await compute(now);
    now.busy = false;
  },

  async finish() {
    const { reporter, stream, pieces } = live;
    if (stream) {
      while (live.busy) await new Promise((resolve) => setTimeout(resolve, 10));
      await compute(live);
      await stream.finish();
      reporter.duration = live.samples / model.rate;
      return reporter.finish(found(stream));
    }
    const whole = concatenate(pieces);
    reporter.duration = whole.length / model.rate;
    async function* sound() {
      yield whole;
    }
    if (model instanceof Classifier) return classify(sound, reporter);
    reporter.picture.accept(whole);
    return reporter.finish(await read(whole, model.rate));
  },
};

/** Returns the words of a recording, or its detected keywords. */
async function read(sound, rate, onProgress) {
  if (model instanceof KeywordListener) return model.listen(sound, rate, onProgress);
  return (await model.transcribe(sound, rate, onProgress)).words;
}

function found(stream) {
  return stream.events ?? stream.words;
}

async function compute(now) {
  while (now.pieces.length) {
    const samples = concatenate(now.pieces.splice(0));
    now.samples += samples.length;
    now.reporter.picture.accept(samples);
    await now.stream.accept(samples);
    now.reporter.report(now.samples / model.rate, found(now.stream), 0);
  }
}

async function classify(pieces, reporter) {
  if (reporter.duration > MAX_CLIP_SECONDS) {
    throw new RangeError(`The sound lasts more than ${MAX_CLIP_SECONDS} seconds: choose a shorter one.`);
  }
  const clip = [];
  for await (const piece of pieces()) {
    reporter.picture.accept(piece);
    clip.push(piece);
  }
  const samples = concatenate(clip);
  if (samples.every((sample) => Math.abs(sample) < 1e-4)) throw new RangeError("The sound is silent: check the microphone.");
  return { ...reporter.finish([]), classes: await model.classify(samples, model.rate) };
}

/** Sends the changes of a recording's results to the page, at limited rates. */
class Reporter {
  constructor() {
    this.recording = ++newest;
    this.picture = new Picture(model.rate);
    this.duration = 0;
    this.sent = []; // The words that were sent to the page.
    this.last = this.drawn = 0;
  }

  check() {
    if (this.recording !== newest) throw new DOMException("Another recording has begun.", "AbortError");
  }

  report(seconds, words, pause = PAUSE) {
    this.check();
    if (performance.now() < this.last + pause) return;
    this.last = performance.now();
    const isDrawn = this.last > this.drawn + PICTURE_PAUSE;
    if (isDrawn) this.drawn = this.last;
    const picture = isDrawn ? this.picture.snapshot() : undefined;
    postMessage({ event: "progress", seconds, duration: this.duration, picture, ...this.#changes(words) });
  }

  finish(words) {
    this.check();
    return { duration: this.duration, picture: this.picture.snapshot(), ...this.#changes(words) };
  }

  #changes(words) {
    const isSame = (word, index) => word.text === words[index]?.text && word.end === words[index].end;
    const changed = this.sent.findIndex((word, index) => !isSame(word, index));
    const from = changed < 0 ? this.sent.length : changed;
    this.sent = words.slice();
    return { from, words: words.slice(from) };
  }
}

onmessage = async ({ data: { id, call, ...options } }) => {
  try {
    postMessage({ id, result: await calls[call](options) });
  } catch (error) {
    postMessage({ id, error: error.message, aborted: error.name === "AbortError" });
  }
};
