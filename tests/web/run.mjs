// Runs the JavaScript module in Node: node run.mjs REQUEST.json. The request names a job and its arguments; printed is the
// answer as JSON. Models are fetched over HTTP, as a page does it.

import fs from "node:fs";
import { BeamDecoder } from "../../web/src/beam.js";
import { Classifier, KeywordListener, Recognizer, Resampler, resample } from "../../web/src/index.js";
import { NgramModel } from "../../web/src/ngrams.js";
import { logProbability } from "../../web/src/rescoring.js";
import { BeamSearch } from "../../web/src/search.js";
import { toJson, toSrt, toVtt } from "../../web/src/subtitles.js";

const request = JSON.parse(fs.readFileSync(process.argv[2]));

const jobs = {
  async recognize({ url, precision, samples, rate }) {
    const recognizer = await Recognizer.load(url, { precision });
    const logits = [];
    for await (const piece of recognizer.logits(Float32Array.from(samples), rate)) logits.push(...piece.logits);
    const { text, words } = await recognizer.transcribe(Float32Array.from(samples), rate);
    return { streams: recognizer.streams, logits, text, words };
  },

  async stream({ url, pieces }) {
    const stream = (await Recognizer.load(url)).stream();
    const texts = [];
    for (const piece of pieces) {
      await stream.accept(Float32Array.from(piece));
      texts.push(stream.text);
    }
    await stream.finish();
    return [...texts, stream.text];
  },

  // The words of sounds when each of their pieces is known, and in the end.
  async live({ url, options, sounds, samples }) {
    const recognizer = await Recognizer.load(url, options);
    const all = [];
    for (const sound of sounds) {
      const stream = recognizer.stream();
      const known = [];
      for (let at = 0; at < sound.length; at += samples) {
        await stream.accept(Float32Array.from(sound.slice(at, at + samples)));
        known.push(stream.words.map((word) => word.text));
      }
      await stream.finish();
      all.push({ known, words: stream.words, latency: recognizer.model.description.latency });
    }
    return all;
  },

  async classify({ url, precision, samples, rate }) {
    const classifier = await Classifier.load(url, { precision });
    const clip = Float32Array.from(samples);
    return { logits: Array.from(await classifier.logits(clip, rate)), classes: await classifier.classify(clip, rate) };
  },

  async load({ url, options }) {
    return (await Recognizer.load(url, options)).rate;
  },

  // The words of the first half of many utterances, and of all, with the language model of a folder.
  async search({ url, description, options, utterances }) {
    const search = new BeamSearch(description, await NgramModel.load(new URL(url), options, () => {}));
    return utterances.map((logits) => {
      return [logits.slice(0, logits.length / 2), logits].map((frames) => {
        const decoder = new BeamDecoder(description, search);
        frames.forEach((frame) => decoder.accept({ logits: Float32Array.from(frame) }));
        decoder.finish();
        return decoder.words;
      });
    });
  },

  // The words of utterances, perhaps with phones to search by or to rescore with; and the texts in the beam, with the search's
  // scores. Without options, there is no language model.
  async scores({ url, description, options, hotWords, hotWordScore, utterances }) {
    const none = NgramModel.none(description.labels.length);
    const model = options ? await NgramModel.load(new URL(url), options, () => {}) : none;
    const search = new BeamSearch(description, model, hotWords, hotWordScore);
    return utterances.map(({ letters, phones }) => {
      const decoder = new BeamDecoder(description, search);
      decoder.accept({ logits: Float32Array.from(letters.flat()), phones: phones && Float32Array.from(phones.flat()) });
      decoder.finish();
      const found = search.candidates(decoder.part.beam);
      const spell = (ids) => ids.map((id) => (id === search.delimiter ? " " : description.labels[id])).join("");
      const write = ({ words, tokens }) => (search.usesPhones ? words.map((word) => search.spellings[word]).join(" ") : spell(tokens));
      const texts = found.map((candidate) => [write(candidate), candidate.score]);
      return { words: decoder.words, scores: Object.fromEntries(texts) };
    });
  },

  async texts({ url, precision, languageModel, sounds, rate }) {
    const recognizer = await Recognizer.load(url, { precision, languageModel });
    const texts = [];
    for (const sound of sounds) texts.push((await recognizer.transcribe(Float32Array.from(sound), rate)).text);
    return texts;
  },

  async listen({ url, pieces, rate }) {
    const listener = await KeywordListener.load(url);
    const stream = listener.stream();
    const events = [];
    for (const piece of pieces) events.push(...(await stream.accept(Float32Array.from(piece))));
    events.push(...(await stream.finish()));
    const whole = await listener.listen(Float32Array.from(pieces.flat()), rate);
    return { events, whole, keywords: listener.keywords };
  },

  probabilities({ frames, texts, blank, open }) {
    const rows = frames.map((frame) => Float64Array.from(frame));
    return texts.map((ids) => logProbability(rows, ids, blank, open));
  },

  resample({ pieces, from, to }) {
    const resampler = new Resampler(from, to);
    const output = pieces.flatMap((piece) => Array.from(resampler.accept(Float32Array.from(piece))));
    return [...output, ...resampler.finish()];
  },

  whole({ samples, from, to }) {
    return Array.from(resample(Float32Array.from(samples), from, to));
  },

  subtitles({ words, file }) {
    return [toSrt(words), toVtt(words), toJson(words, file)];
  },
};

try {
  console.log(JSON.stringify(await jobs[request.job](request)));
} catch (error) {
  console.log(JSON.stringify({ error: error.message }));
}
