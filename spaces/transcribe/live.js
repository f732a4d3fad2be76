// Live transcription of the microphone. Runs inside gr.HTML (`_live_tab` in app.py), which provides element, props, watch
// and trigger.
//
// gr.Audio(streaming=True) loses words on a slow connection or a busy server, because a new piece replaces one that still
// waits. Here, the next piece is sent after the answer to the last one, with all sound recorded in between, so nothing is
// lost, pieces stay in order, and no file is written.

const SHORTEST_PIECE = 0.3; // seconds
const LONGEST_PIECE = 4; // seconds
const TIMEOUT = 30000; // milliseconds to wait for an answer of the server; tests wait less

const WORKLET = `
registerProcessor("tap", class extends AudioWorkletProcessor {
  process([channels]) {
    if (channels.length) {
      const mono = new Float32Array(channels[0].length);
      for (const channel of channels) channel.forEach((sample, i) => { mono[i] += sample / channels.length; });
      this.port.postMessage(mono, [mono.buffer]);
    }
    return true;
  }
});`;

const button = element.querySelector(".live-button");
const level = element.querySelector(".live-level span");
const clock = element.querySelector(".live-clock");
const text = element.querySelector(".live-words");
const notice = element.querySelector(".live-notice");

let recording = null; // { stream, context, blocks, piece, waiting, ending, timer } while recording

function setRecording(value) {
  recording = value;
  element.querySelector(".live").dataset.state = value ? "busy" : "idle";
}

function showNotice(sentence) {
  notice.textContent = sentence;
  notice.hidden = !sentence;
}

async function begin() {
  showNotice("");
  text.textContent = "";
  clock.textContent = "0.0 s";
  if (!navigator.mediaDevices) {
    showNotice("The browser allows microphones only on secure pages: open this page with https.");
    return;
  }
  const now = { blocks: [], piece: 0, waiting: false, ending: false };
  setRecording(now);
  try {
    // The recognizer was not trained on sound with this processing.
    const audio = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    now.stream = await navigator.mediaDevices.getUserMedia({ audio });
    now.context = new AudioContext();
    const worklet = URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" }));
    await now.context.audioWorklet.addModule(worklet);
    URL.revokeObjectURL(worklet);
    const tap = new AudioWorkletNode(now.context, "tap", { numberOfOutputs: 0 });
    tap.port.onmessage = ({ data }) => record(now, data);
    now.context.createMediaStreamSource(now.stream).connect(tap);
  } catch (error) {
    close(now);
    const denied = error.name === "NotAllowedError";
    showNotice(denied ? "The browser does not allow this page to use the microphone: allow it and press Record again." : `There is no microphone (${error.message}).`);
    return;
  }
  button.textContent = "Stop";
  button.setAttribute("aria-pressed", "true");
}

function record(now, block) {
  if (now.ending) return;
  now.blocks.push(block);
  const peak = block.reduce((value, sample) => Math.max(value, Math.abs(sample)), 0);
  level.style.width = `${Math.min(100, 100 * Math.sqrt(peak))}%`;
  send(now);
}

// Sends the sound recorded since the last piece, unless the answer to that piece is still missing.
function send(now) {
  const rate = now.context.sampleRate;
  const recorded = now.blocks.reduce((sum, block) => sum + block.length, 0);
  if (now.waiting || (!now.ending && recorded < SHORTEST_PIECE * rate)) return;
  const blocks = [];
  let size = 0;
  while (now.blocks.length && size < LONGEST_PIECE * rate - now.blocks[0].length) {
    size += now.blocks[0].length;
    blocks.push(now.blocks.shift());
  }
  const samples = new Int16Array(size);
  let position = 0;
  for (const block of blocks) for (const sample of block) samples[position++] = Math.max(-32768, Math.min(32767, Math.round(32768 * sample)));
  now.waiting = true;
  now.timer = setTimeout(() => fail(now, "The server does not answer: try again."), window.livePatience ?? TIMEOUT);
  trigger("submit", { piece: now.piece++, rate, samples: base64(samples), last: now.ending && !now.blocks.length });
}

function base64(samples) {
  const bytes = new Uint8Array(samples.buffer);
  let binary = "";
  for (let start = 0; start < bytes.length; start += 32768) binary += String.fromCharCode(...bytes.subarray(start, start + 32768));
  return btoa(binary);
}

function answered() {
  const answer = props.value;
  const now = recording;
  if (!now || !answer || answer.piece !== now.piece - 1) return;
  clearTimeout(now.timer);
  now.waiting = false;
  if (answer.error) {
    fail(now, answer.error);
    return;
  }
  text.textContent = answer.text;
  clock.textContent = `${answer.seconds.toFixed(1)} s`;
  if (answer.last) {
    setRecording(null);
    if (!answer.text) showNotice("No words were recognized.");
  } else {
    send(now);
  }
}

function end(now) {
  now.ending = true;
  close(now);
  setRecording(now); // until the last piece has been answered
  send(now);
}

function fail(now, sentence) {
  clearTimeout(now.timer);
  now.ending = true;
  close(now);
  showNotice(sentence);
}

function close(now) {
  now.stream?.getTracks().forEach((track) => track.stop());
  if (now.context && now.context.state !== "closed") now.context.close();
  if (recording === now) setRecording(null);
  button.textContent = "Record";
  button.setAttribute("aria-pressed", "false");
  level.style.width = "0";
}

button.addEventListener("click", () => {
  if (!recording) begin();
  else if (recording.context && !recording.ending) end(recording);
});
watch("value", answered);
