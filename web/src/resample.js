// Conversion between sampling rates with a low-pass filter (windowed sinc, Kaiser window) that is evaluated only at output
// samples. It passes 90% of the lower rate's band and attenuates aliases by 100 dB. It is used for files and, in an
// AudioWorklet, for the microphone.

const ZERO_CROSSINGS = 64; // of the sinc, on either side
const BETA = 10.06; // Kaiser's formula for 100 dB: 0.1102 (100 - 8.7)
const CUTOFF = 0.95; // as a fraction of the lower rate's band

/** Resamples a mono signal that arrives in pieces. The output does not depend on how it is cut. */
export class Resampler {
  /**
   * @param {number} from Rate of the input in Hz.
   * @param {number} to Rate of the output in Hz.
   */
  constructor(from, to) {
    if (!(Number.isInteger(from) && Number.isInteger(to) && from > 0 && to > 0)) {
      throw new RangeError(`Sampling rates must be whole numbers: ${from} and ${to} are not.`);
    }
    const divisor = greatestCommonDivisor(from, to);
    this.up = to / divisor;
    this.down = from / divisor;
    // Taps on either side, in samples of the input.
    this.reach = this.up === this.down ? 0 : Math.ceil(ZERO_CROSSINGS * Math.max(1, from / to));
    /** @type {(Float32Array | undefined)[]} */
    this.filters = []; // By phase, made on demand.
    this.kept = new Float32Array(this.reach); // Silence before the beginning.
    this.given = 0;
    this.made = 0;
  }

  /**
   * @param {Float32Array} samples The next piece.
   * @returns {Float32Array} The new output.
   */
  accept(samples) {
    this.given += samples.length;
    if (!this.reach) return samples;
    return this.#convert(samples, Math.ceil(((this.given - this.reach - 1) * this.up) / this.down));
  }

  /** Returns the end of the output. */
  finish() {
    if (!this.reach) return new Float32Array(0);
    return this.#convert(new Float32Array(this.reach + 1), Math.round((this.given * this.up) / this.down));
  }

  /**
   * @param {Float32Array} samples
   * @param {number} until The total number of output samples to reach.
   */
  #convert(samples, until) {
    const buffer = new Float32Array(this.kept.length + samples.length);
    buffer.set(this.kept);
    buffer.set(samples, this.kept.length);
    const output = new Float32Array(Math.max(0, until - this.made));
    // `buffer[0]` is the input sample `origin`.
    const origin = Math.floor((this.made * this.down) / this.up) - this.reach;
    for (let index = 0; index < output.length; index++) {
      const position = (this.made + index) * this.down;
      const filter = this.#filter(position % this.up);
      const first = Math.floor(position / this.up) - this.reach - origin;
      let sum = 0;
      for (let tap = 0; tap < filter.length; tap++) sum += filter[tap] * buffer[first + tap];
      output[index] = sum;
    }
    this.made += output.length;
    this.kept = buffer.slice(Math.floor((this.made * this.down) / this.up) - this.reach - origin);
    return output;
  }

  /** @param {number} phase The offset of the output sample from an input sample, in units of `1 / up`. */
  #filter(phase) {
    this.filters[phase] ??= makeFilter(phase / this.up, this.reach, Math.min(1, this.up / this.down));
    return /** @type {Float32Array} */ (this.filters[phase]);
  }
}

/**
 * Makes a filter.
 * @param {number} offset The offset of the output sample from the middle tap, in samples.
 * @param {number} reach Taps on either side.
 * @param {number} band The lower rate's band as a fraction of the input's.
 */
function makeFilter(offset, reach, band) {
  const filter = new Float32Array(2 * reach + 2);
  let sum = 0;
  for (let tap = 0; tap < filter.length; tap++) {
    const distance = tap - reach - offset;
    const place = distance / (reach + 1);
    const window = bessel(BETA * Math.sqrt(Math.max(0, 1 - place * place))) / bessel(BETA);
    const angle = Math.PI * CUTOFF * band * distance;
    filter[tap] = window * (angle ? Math.sin(angle) / angle : 1);
    sum += filter[tap];
  }
  return filter.map((value) => value / sum);
}

/**
 * Computes the modified Bessel function of the first kind, order 0.
 * @param {number} x
 */
function bessel(x) {
  let term = 1;
  let sum = 1;
  for (let k = 1; term > 1e-12 * sum; k++) {
    term *= (x / (2 * k)) ** 2;
    sum += term;
  }
  return sum;
}

/**
 * @param {number} a
 * @param {number} b
 * @returns {number}
 */
function greatestCommonDivisor(a, b) {
  return b ? greatestCommonDivisor(b, a % b) : a;
}

/**
 * Resamples a whole signal.
 * @param {Float32Array} samples
 * @param {number} from In Hz.
 * @param {number} to In Hz.
 */
export function resample(samples, from, to) {
  const resampler = new Resampler(from, to);
  return concatenate([resampler.accept(samples), resampler.finish()]);
}

/**
 * Resamples a recording in pieces.
 * @param {Float32Array | import("./chunks.js").Sound} sound Mono samples, or a function that yields them in pieces.
 * @param {number} from In Hz.
 * @param {number} to In Hz.
 * @param {number} seconds Length of the pieces into which samples are cut.
 */
export async function* resampled(sound, from, to, seconds) {
  const resampler = new Resampler(from, to);
  const pieces = typeof sound === "function" ? sound() : cut(sound, Math.round(seconds * from));
  for await (const piece of pieces) yield resampler.accept(piece);
  yield resampler.finish();
}

/**
 * @param {Float32Array} samples
 * @param {number} size Of a piece.
 */
function* cut(samples, size) {
  for (let at = 0; at < samples.length; at += size) yield samples.subarray(at, at + size);
}

/** @param {Float32Array[]} pieces */
export function concatenate(pieces) {
  const whole = new Float32Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
