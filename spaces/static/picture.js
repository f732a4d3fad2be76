// The picture of a recording, computed while it arrives: a peak and a log-mel spectrum for each column. If there are too
// many columns, pairs of columns are merged, so that memory is bounded for recordings of any length.

const MAX_COLUMNS = 1600;
const BANDS = 64;
const WINDOW_SECONDS = 0.025;
const HOP_SECONDS = 0.01;

export class Picture {
  /** @param {number} rate Sampling rate in Hz. */
  constructor(rate) {
    this.rate = rate;
    this.hop = Math.round(HOP_SECONDS * rate);
    this.size = 2 ** Math.ceil(Math.log2(WINDOW_SECONDS * rate));
    this.window = Float32Array.from({ length: this.size }, (_, at) => 0.5 - 0.5 * Math.cos((2 * Math.PI * at) / this.size));
    this.filters = melFilters(rate, this.size);
    this.merged = 1; // Hops per column.
    this.peaks = [];
    this.bands = []; // Decibels of each column, Float32Array(BANDS).
    this.kept = new Float32Array(0);
    this.hops = 0;
  }

  /** @param {Float32Array} samples The next piece. */
  accept(samples) {
    const all = new Float32Array(this.kept.length + samples.length);
    all.set(this.kept);
    all.set(samples, this.kept.length);
    let at = 0;
    for (; at + Math.max(this.size, this.hop) <= all.length; at += this.hop) this.#add(all, at);
    this.kept = all.slice(at);
  }

  #add(samples, at) {
    let peak = 0;
    for (let i = at; i < at + this.hop; i++) peak = Math.max(peak, Math.abs(samples[i]));
    if (this.hops % this.merged === 0) {
      this.peaks.push(0);
      this.bands.push(new Float32Array(BANDS).fill(-120));
    }
    const last = this.peaks.length - 1;
    this.peaks[last] = Math.max(this.peaks[last], peak);
    // A column of several hops shows its first spectrum: computing the others would take time and change little.
    if (this.hops % this.merged === 0) this.bands[last] = this.#spectrum(samples, at);
    this.hops++;
    if (this.peaks.length > MAX_COLUMNS) this.#merge();
  }

  #merge() {
    const count = Math.floor(this.peaks.length / 2);
    for (let column = 0; column < count; column++) {
      this.peaks[column] = Math.max(this.peaks[2 * column], this.peaks[2 * column + 1]);
      this.bands[column] = this.bands[2 * column].map((level, band) => Math.max(level, this.bands[2 * column + 1][band]));
    }
    this.peaks.length = this.bands.length = count;
    this.merged *= 2;
    this.hops = count * this.merged;
  }

  #spectrum(samples, at) {
    const real = new Float32Array(this.size);
    const imaginary = new Float32Array(this.size);
    for (let i = 0; i < this.size; i++) real[i] = samples[at + i] * this.window[i];
    fft(real, imaginary);
    return Float32Array.from(this.filters, ({ first, weights }) => {
      let power = 1e-12;
      weights.forEach((weight, i) => {
        power += weight * (real[first + i] ** 2 + imaginary[first + i] ** 2);
      });
      return 10 * Math.log10(power);
    });
  }

  /** Returns peaks from 0 to 1, and levels from 0 to 255 for each column, the lowest band first. */
  snapshot() {
    const loudest = this.bands.reduce((maximum, column) => column.reduce((a, b) => Math.max(a, b), maximum), -20);
    const levels = new Uint8ClampedArray(this.bands.length * BANDS);
    this.bands.forEach((column, index) => {
      column.forEach((level, band) => {
        levels[index * BANDS + band] = 255 * (1 + (level - loudest) / 70); // A range of 70 dB.
      });
    });
    return { peaks: Float32Array.from(this.peaks), levels, bands: BANDS, secondsPerColumn: (this.merged * this.hop) / this.rate };
  }
}

/** Makes triangular filters of equal width on the mel scale. */
function melFilters(rate, size) {
  const mel = (hertz) => 2595 * Math.log10(1 + hertz / 700);
  const edges = Array.from({ length: BANDS + 2 }, (_, band) => {
    const position = (band * mel(rate / 2)) / (BANDS + 1);
    return ((700 * (10 ** (position / 2595) - 1)) / rate) * size;
  });
  return Array.from({ length: BANDS }, (_, band) => {
    const [low, middle, high] = [edges[band], edges[band + 1], edges[band + 2]];
    const [first, last] = [Math.floor(low), Math.min(Math.ceil(high), size / 2)];
    const weights = Array.from({ length: last - first + 1 }, (_, i) => {
      const bin = first + i;
      return Math.max(0, Math.min((bin - low) / (middle - low), (high - bin) / (high - middle)));
    });
    // The lowest bands can be narrower than a bin.
    if (weights.every((weight) => weight === 0)) weights[Math.round(middle) - first] = 1;
    return { first, weights };
  });
}

/** Computes the discrete Fourier transform in place (Cooley and Tukey), for powers of two. */
function fft(real, imaginary) {
  const size = real.length;
  for (let i = 1, j = 0; i < size; i++) {
    let bit = size >> 1;
    for (; j & bit; bit >>= 1) j ^= bit;
    j ^= bit;
    if (i < j) {
      [real[i], real[j]] = [real[j], real[i]];
      [imaginary[i], imaginary[j]] = [imaginary[j], imaginary[i]];
    }
  }
  for (let length = 2; length <= size; length <<= 1) {
    const angle = (-2 * Math.PI) / length;
    for (let k = 0; k < length / 2; k++) {
      const [cosine, sine] = [Math.cos(angle * k), Math.sin(angle * k)];
      for (let a = k; a < size; a += length) {
        const b = a + length / 2;
        const re = real[b] * cosine - imaginary[b] * sine;
        const im = real[b] * sine + imaginary[b] * cosine;
        real[b] = real[a] - re;
        imaginary[b] = imaginary[a] - im;
        real[a] += re;
        imaginary[a] += im;
      }
    }
  }
}
