// The live microphone: the text grows while somebody speaks. Runs inside gr.HTML (app.py `_live_tab`), which provides
// element, props, watch and trigger.
//
// Not gr.Audio(streaming=True): there a piece of sound replaces the one before it that is still waiting, so that a slow
// line or a busy server loses words. Here the next piece is sent when the last one has been answered, and holds all that
// was said meanwhile: nothing is lost, nothing overtakes, and no file is written.

const SHORTEST_PIECE = 0.3; // seconds
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
    // What telephony does to a voice, a recognizer has not learned.
    const audio = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    now.stream = await navigator.mediaDevices.getUserMedia({ audio });
    now.context = new AudioContext();
    const worklet = URL.createObjectURL(new Blob([WORKLET], { type: "text/javascript" }));
    await now.context.audioWorklet.addModule(worklet);
    URL.revokeObjectURL(worklet);
    const tap = new AudioWorkletNode(now.context, "tap", { numberOfOutputs: 0 });
    tap.port.onmessage = ({ data }) => hear(now, data);
    now.context.createMediaStreamSource(now.stream).connect(tap);
  } catch (error) {
    close(now);
    const denied = error.name === "NotAllowedError";
    say(denied ? "The browser does not let this page hear the microphone: allow it, and press again." : `There is no microphone to be heard (${error.message}).`);
    return;
  }
  button.textContent = "Stop";
  button.setAttribute("aria-pressed", "true");
}

function hear(now, block) {
  if (now.ending) return;
  now.blocks.push(block);
  const loudest = block.reduce((most, sample) => Math.max(most, Math.abs(sample)), 0);
  level.style.width = `${Math.min(100, 100 * Math.sqrt(loudest))}%`;
  pass(now);
}

// Sends what has been heard since the last piece, unless the server is still at that one.
function pass(now) {
  const heard = now.blocks.reduce((sum, block) => sum + block.length, 0);
  if (now.waiting || (!now.ending && heard < SHORTEST_PIECE * now.context.sampleRate)) return;
  const samples = new Int16Array(heard);
  let at = 0;
  for (const block of now.blocks) for (const sample of block) samples[at++] = Math.max(-32768, Math.min(32767, Math.round(32768 * sample)));
  now.blocks = [];
  now.waiting = true;
  now.timer = setTimeout(() => fail(now, "The server does not answer: try again."), window.livePatience ?? PATIENCE);
  trigger("submit", { piece: now.piece++, rate: now.context.sampleRate, samples: base64(samples), last: now.ending });
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
    if (!answer.text) say("No words were heard.");
  } else {
    pass(now);
  }
}

function end(now) {
  now.ending = true;
  close(now);
  become(now); // until the last piece has been answered
  pass(now);
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
