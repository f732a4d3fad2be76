// The live microphone: the text appears while somebody speaks. Runs inside gr.HTML (app.py `_live_tab`), which provides
// element, props, watch and trigger.
//
// gr.Audio(streaming=True) would lose words on a slow line or a busy server: a new piece replaces one that still waits.
// Here the next piece is sent when the last one has been answered, with what was said meanwhile: nothing is lost, pieces
// stay in order, and no file is written.

const SHORTEST_PIECE = 0.3; // seconds
const LONGEST_PIECE = 4; // seconds
const PATIENCE = 30000; // milliseconds until a server that does not answer is given up; tests wait less

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

let recording = null; // { stream, context, blocks, piece, waiting, ending, timer } while there is one

function become(other) {
  recording = other;
  element.querySelector(".live").dataset.state = other ? "busy" : "idle";
}

function say(sentence) {
  notice.textContent = sentence;
  notice.hidden = !sentence;
}

async function begin() {
  say("");
  text.textContent = "";
  clock.textContent = "0.0 s";
  if (!navigator.mediaDevices) {
    say("This browser shows the microphone to secure pages only: open this one with https.");
    return;
  }
  const now = { blocks: [], piece: 0, waiting: false, ending: false };
  become(now);
  try {
    // The recognizer was not trained on what these do to a voice.
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
    say(denied ? "The browser does not let this page use the microphone: allow it, and press again." : `There is no microphone (${error.message}).`);
    return;
  }
  button.textContent = "Stop";
  button.setAttribute("aria-pressed", "true");
}

function record(now, block) {
  if (now.ending) return;
  now.blocks.push(block);
  const loudest = block.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
  level.style.width = `${Math.min(100, 100 * Math.sqrt(loudest))}%`;
  send(now);
}

// Sends what was recorded since the last piece, unless the server is still at that one.
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
  let at = 0;
  for (const block of blocks) for (const sample of block) samples[at++] = Math.max(-32768, Math.min(32767, Math.round(32768 * sample)));
  now.waiting = true;
  now.timer = setTimeout(() => fail(now, "The server does not answer: try again."), window.livePatience ?? PATIENCE);
  trigger("submit", { piece: now.piece++, rate, samples: base64(samples), last: now.ending && !now.blocks.length });
}

function base64(samples) {
  const bytes = new Uint8Array(samples.buffer);
  let binary = "";
  for (let at = 0; at < bytes.length; at += 32768) binary += String.fromCharCode(...bytes.subarray(at, at + 32768));
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
    become(null);
    if (!answer.text) say("No words were recognized.");
  } else {
    send(now);
  }
}

function end(now) {
  now.ending = true;
  close(now);
  become(now); // until the last piece has been answered
  send(now);
}

function fail(now, sentence) {
  clearTimeout(now.timer);
  now.ending = true;
  close(now);
  say(sentence);
}

function close(now) {
  now.stream?.getTracks().forEach((track) => track.stop());
  if (now.context && now.context.state !== "closed") now.context.close();
  if (recording === now) become(null);
  button.textContent = "Record";
  button.setAttribute("aria-pressed", "false");
  level.style.width = "0";
}

button.addEventListener("click", () => {
  if (!recording) begin();
  else if (recording.context && !recording.ending) end(recording);
});
watch("value", answered);
