// Draws a sound on a canvas: the waveform above the log-mel spectrogram, and a line at the playback position.

// Eight equidistant colors of the colormap cividis, which is suitable for color-blind readers.
const COLORS = [
  [0, 34, 78],
  [42, 63, 109],
  [76, 85, 108],
  [104, 108, 113],
  [134, 131, 119],
  [166, 156, 117],
  [204, 184, 103],
  [254, 232, 56],
];
// The bytes red, green, blue and alpha of each level.
const PALETTE = Uint32Array.from({ length: 256 }, (_, level) => {
  const position = (level / 255) * (COLORS.length - 1);
  const step = Math.min(COLORS.length - 2, Math.floor(position));
  const [low, high] = [COLORS[step], COLORS[step + 1]];
  const [red, green, blue] = low.map((value, channel) => Math.round(value + (position - step) * (high[channel] - value)));
  return (255 << 24) | (blue << 16) | (green << 8) | red;
});
const WAVE_SHARE = 0.36; // of the canvas height

export class Drawing {
  /**
   * @param {HTMLCanvasElement} canvas
   * @param {HTMLAudioElement} player
   */
  constructor(canvas, player) {
    this.canvas = canvas;
    this.player = player;
    this.figure = canvas.closest("figure");
    this.spectrogram = document.createElement("canvas");
    canvas.addEventListener("click", ({ offsetX }) => {
      if (!player.src || !this.seconds) return;
      player.currentTime = (offsetX / canvas.clientWidth) * this.seconds;
      player.play().catch(() => {}); // Playback may be paused at once.
    });
    player.addEventListener("play", () => requestAnimationFrame(() => this.#follow()));
    player.addEventListener("seeked", () => this.#draw());
    new ResizeObserver(() => this.#draw()).observe(canvas);
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.#draw());
  }

  clear() {
    this.picture = undefined;
  }

  /**
   * @param {{ peaks: Float32Array, levels: Uint8ClampedArray, bands: number, secondsPerColumn: number }} picture
   * @param {number} duration Of the whole sound in seconds, if known.
   */
  show(picture, duration) {
    this.picture = picture;
    this.seconds = Math.max(duration || 0, picture.peaks.length * picture.secondsPerColumn);
    this.figure.hidden = false;
    const { peaks, levels, bands } = picture;
    const image = new ImageData(peaks.length, bands);
    const pixels = new Uint32Array(image.data.buffer);
    for (let column = 0; column < peaks.length; column++) {
      for (let band = 0; band < bands; band++) {
        pixels[(bands - 1 - band) * peaks.length + column] = PALETTE[levels[column * bands + band]];
      }
    }
    this.spectrogram.width = peaks.length;
    this.spectrogram.height = bands;
    this.spectrogram.getContext("2d").putImageData(image, 0, 0);
    this.#draw();
  }

  #draw() {
    if (!this.picture || !this.canvas.clientWidth) return;
    const { canvas, picture } = this;
    const scale = devicePixelRatio;
    const [width, height] = [Math.round(canvas.clientWidth * scale), Math.round(canvas.clientHeight * scale)];
    if (canvas.width !== width || canvas.height !== height) [canvas.width, canvas.height] = [width, height];
    const pen = canvas.getContext("2d");
    const style = getComputedStyle(canvas);
    pen.clearRect(0, 0, width, height);
    const share = (picture.peaks.length * picture.secondsPerColumn) / this.seconds;
    const middle = (height * WAVE_SHARE) / 2;
    const loudest = Math.max(0.02, ...picture.peaks); // Does not amplify silence.
    pen.fillStyle = style.getPropertyValue("--wave") || style.color;
    const step = (width * share) / picture.peaks.length;
    picture.peaks.forEach((peak, column) => {
      const half = Math.max(scale / 2, (peak / loudest) * middle * 0.95);
      pen.fillRect(column * step, middle - half, Math.max(step, scale / 2), 2 * half);
    });
    pen.imageSmoothingEnabled = false;
    pen.drawImage(this.spectrogram, 0, height * WAVE_SHARE, width * share, height * (1 - WAVE_SHARE));
    if (!this.player.src) return;
    pen.fillStyle = "#e11d48";
    pen.fillRect((this.player.currentTime / this.seconds) * width - scale, 0, 2 * scale, height);
  }

  #follow() {
    this.#draw();
    if (!this.player.paused) requestAnimationFrame(() => this.#follow());
  }
}
