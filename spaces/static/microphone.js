// An AudioWorklet that mixes the microphone to mono, resamples it to the model's rate, and sends it in pieces.

import { Resampler } from "./hf-speech/resample.js";

// Seconds. Words appear after at most one piece; pieces of 0.2 s would take half the time per second of audio.
const PIECE_SECONDS = 0.1;

class Microphone extends AudioWorkletProcessor {
  constructor({ processorOptions: { rate } }) {
    super();
    this.resampler = new Resampler(Math.round(sampleRate), rate);
    this.piece = new Float32Array(Math.round(PIECE_SECONDS * rate));
    this.filled = 0;
    this.ended = false;
    this.port.onmessage = () => this.end();
  }

  process([channels]) {
    if (this.ended) return false;
    if (!channels.length) return true;
    const mono = new Float32Array(channels[0].length);
    for (const channel of channels) for (let at = 0; at < mono.length; at++) mono[at] += channel[at] / channels.length;
    this.send(this.resampler.accept(mono));
    return true;
  }

  send(samples) {
    for (const sample of samples) {
      this.piece[this.filled++] = sample;
      if (this.filled === this.piece.length) this.post();
    }
  }

  post() {
    const samples = this.piece.slice(0, this.filled);
    this.filled = 0;
    this.port.postMessage(samples, [samples.buffer]);
  }

  end() {
    this.ended = true;
    this.send(this.resampler.finish());
    this.post();
    this.port.postMessage(null);
  }
}

registerProcessor("microphone", Microphone);
