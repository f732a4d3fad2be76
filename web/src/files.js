// Decodes sound files piece by piece, so that memory does not depend on their length.

import { ALL_FORMATS, AudioSampleSink, BlobSource, Input } from "./media.js";
import { concatenate } from "./resample.js";

const PIECE_SECONDS = 2;

/** Thrown if a file is not a sound, or this browser cannot decode it. The message is a sentence for the user. */
export class FileError extends Error {}

/**
 * Opens a sound file: wav, flac, mp3, ogg, opus, m4a, webm and others.
 * @param {Blob & { name?: string }} file
 * @returns {Promise<{ rate: number, seconds: number, sound: () => AsyncGenerator<Float32Array> }>} Its sampling rate in
 *   Hz, its duration, and a function that decodes it from the beginning into mono pieces.
 * @throws {FileError} If it cannot be read.
 */
export async function openFile(file) {
  const name = file.name ?? "The file";
  const input = new Input({ source: new BlobSource(file), formats: ALL_FORMATS });
  const track = await input.getPrimaryAudioTrack().catch(() => null);
  if (!track) throw new FileError(`${name} is not a sound that can be read here: choose wav, flac, mp3, ogg or m4a.`);
  if (!(await track.canDecode())) {
    throw new FileError(`This browser cannot decode ${name} (${track.codec ?? "unknown codec"}): choose a wav file.`);
  }
  const seconds = await track.computeDuration();
  const sink = new AudioSampleSink(track);
  // The decoded sound may have a different rate than the header.
  const first = await sink.getSample(await track.getFirstTimestamp()).catch(() => null);
  if (!first) throw new FileError(`${name} holds no sound: choose another file.`);
  const rate = first.sampleRate;
  first.close();
  return { rate, seconds, sound: () => decode(sink, name) };
}

/**
 * @param {AudioSampleSink} sink
 * @param {string} name
 */
async function* decode(sink, name) {
  let [waiting, size] = [/** @type {Float32Array[]} */ ([]), 0];
  try {
    for await (const sample of sink.samples()) {
      waiting.push(mix(sample));
      size += sample.numberOfFrames;
      const isPiece = size >= PIECE_SECONDS * sample.sampleRate;
      sample.close();
      if (!isPiece) continue;
      yield concatenate(waiting);
      [waiting, size] = [[], 0];
    }
  } catch (error) {
    throw new FileError(`${name} is damaged: ${error instanceof Error ? error.message : error}`);
  }
  if (size) yield concatenate(waiting);
}

/**
 * Returns the mean of the channels.
 * @param {import("mediabunny").AudioSample} sample
 */
function mix(sample) {
  const mono = new Float32Array(sample.numberOfFrames);
  const channel = new Float32Array(sample.numberOfFrames);
  for (let planeIndex = 0; planeIndex < sample.numberOfChannels; planeIndex++) {
    sample.copyTo(channel, { planeIndex, format: "f32-planar" });
    for (let at = 0; at < mono.length; at++) mono[at] += channel[at] / sample.numberOfChannels;
  }
  return mono;
}
