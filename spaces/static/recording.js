// Recording from the microphone, and writing it as a WAV file.

/** Records pieces of sound at the model's rate. */
export class Microphone {
  /** @param {number} rate Sampling rate in Hz. */
  constructor(rate) {
    this.rate = rate;
    this.pieces = []; // 16-bit samples, for playback.
    this.seconds = 0;
    this.level = 0;
  }

  /**
   * Opens the microphone.
   * @param {(samples: Float32Array) => void} onPiece Called with each piece.
   * @param {() => void} onOpen Called before the first piece.
   */
  async open(onPiece, onOpen) {
    if (!navigator.mediaDevices) throw new Error("The browser allows microphones only on secure pages: open this page with https.");
    try {
      // The model was not trained on sound with this processing.
      const audio = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
      this.stream = await navigator.mediaDevices.getUserMedia({ audio });
    } catch (error) {
      throw new Error(
        error.name === "NotAllowedError"
          ? "The browser does not allow this page to use the microphone: allow it and press Speak again."
          : `There is no microphone (${error.message}): connect one, or choose a file.`,
      );
    }
    this.context = new AudioContext();
    await this.context.audioWorklet.addModule("microphone.js");
    const options = { numberOfOutputs: 0, processorOptions: { rate: this.rate } };
    this.node = new AudioWorkletNode(this.context, "microphone", options);
    this.ended = new Promise((resolve) => {
      this.node.port.onmessage = ({ data }) => (data ? this.#keep(data, onPiece) : resolve());
    });
    onOpen();
    this.context.createMediaStreamSource(this.stream).connect(this.node);
    await this.context.resume();
  }

  #keep(samples, onPiece) {
    let loudest = 0;
    for (const sample of samples) loudest = Math.max(loudest, Math.abs(sample));
    this.level = Math.min(1, Math.sqrt(loudest));
    this.seconds += samples.length / this.rate;
    this.pieces.push(Int16Array.from(samples, (sample) => Math.max(-32768, Math.min(32767, Math.round(32768 * sample)))));
    onPiece(samples);
  }

  /** Stops after the last piece. */
  async close() {
    this.node.port.postMessage("end");
    await this.ended;
    this.stream.getTracks().forEach((track) => track.stop());
    await this.context.close();
  }
}

/** Makes a WAV file of 16-bit pieces. */
export function wavFile(pieces, rate) {
  const bytes = pieces.reduce((sum, piece) => sum + piece.byteLength, 0);
  const header = new DataView(new ArrayBuffer(44));
  const write = (at, word) => Array.from(word).forEach((letter, i) => header.setUint8(at + i, letter.charCodeAt(0)));
  write(0, "RIFF");
  header.setUint32(4, 36 + bytes, true);
  write(8, "WAVEfmt ");
  header.setUint32(16, 16, true);
  header.setUint16(20, 1, true);
  header.setUint16(22, 1, true);
  header.setUint32(24, rate, true);
  header.setUint32(28, 2 * rate, true);
  header.setUint16(32, 2, true);
  header.setUint16(34, 16, true);
  write(36, "data");
  header.setUint32(40, bytes, true);
  return new File([header, ...pieces], "recording.wav", { type: "audio/wav" });
}
