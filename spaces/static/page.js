// The page: sends sound from the microphone, files and examples to the worker, and shows its results.

import { Drawing } from "./drawing.js";
import { Microphone, wavFile } from "./recording.js";
import { Words } from "./words.js";

const $ = (id) => document.getElementById(id);
const task = document.body.dataset.task;
const isClassifier = task === "audio-classification";
const isListener = task === "keyword-spotting";
const player = $("player");
const words = new Words($("words"), player);
const drawing = new Drawing($("picture"), player);
const hotWords = $("hot-words"); // Only for a recognizer.
const inputs = [$("speak"), $("file"), ...(hotWords ? [hotWords] : []), ...document.querySelectorAll(".example")];

let model; // { rate, streams } once it is loaded.
let microphone; // During a recording.
let name = "recording"; // The name of the sound that is shown.
let number = 0;

// Calls a function of the worker and returns a promise of its result.
let worker;
const waiting = new Map();
function ask(call, options = {}) {
  return new Promise((resolve, reject) => {
    const id = ++number;
    waiting.set(id, { resolve, reject });
    worker.postMessage({ id, call, ...options });
  });
}

function receive({ data }) {
  if (data.event === "download") {
    const isLoaded = data.loaded === data.total;
    const sizes = `${megabytes(data.loaded)} of ${megabytes(data.total)} MB`;
    showStatus(isLoaded ? "Starting the model" : `Loading the model: ${sizes}`);
    if (isLoaded) $("progress").removeAttribute("value");
    else $("progress").value = data.loaded / data.total;
  } else if (data.event === "progress") {
    show(data);
    if (!microphone && data.duration) {
      showStatus(`Listening: ${clock(data.seconds)} of ${clock(data.duration)}`);
      $("progress").value = Math.min(1, data.seconds / data.duration);
    }
  } else {
    const { resolve, reject } = waiting.get(data.id);
    waiting.delete(data.id);
    if (data.error) reject(Object.assign(new Error(data.error), { aborted: data.aborted }));
    else resolve(data.result);
  }
}

async function load() {
  document.body.dataset.state = "loading";
  enable(false);
  $("progress").hidden = false;
  worker?.terminate();
  worker = new Worker("worker.js", { type: "module" });
  worker.onmessage = receive;
  worker.onerror = () => fail("This browser is too old: the page needs module workers and WebAssembly.");
  const options = { precision: $("precision").value, languageModel: $("language-model")?.checked };
  try {
    model = await ask("load", { task, ...options });
    examples ??= await Promise.all(Array.from(document.querySelectorAll(".example"), fetchExample));
  } catch (error) {
    fail(error.message);
    return;
  }
  if (hotWords) await expectWords();
  enable(true);
  const next = isListener ? "say a keyword" : model.streams ? "speak, and the text appears" : "speak, then press Stop";
  ready(`Ready: ${next}.`);
  document.body.dataset.state = "ready";
}

/** Makes the model prefer the words in the field. */
async function expectWords() {
  let sentence = "";
  try {
    await ask("expect", { words: hotWords.value.split(/[\s,;]+/).filter(Boolean) });
  } catch (error) {
    sentence = error.message;
  }
  hotWords.setAttribute("aria-invalid", Boolean(sentence));
  $("error").textContent = sentence;
  $("error").hidden = !sentence;
}

// Examples are loaded with the page, so that nothing has to be loaded later.
let examples;
async function fetchExample(button) {
  const response = await fetch(button.dataset.file);
  const file = new File([await response.blob()], button.dataset.file);
  button.addEventListener("click", () => open(file, button.textContent));
}

function enable(on) {
  for (const input of inputs) input.disabled = !on;
}

function showStatus(sentence) {
  $("status").textContent = sentence;
}

function ready(sentence) {
  $("progress").hidden = true;
  showStatus(sentence);
}

function fail(sentence) {
  if (sentence) ready("");
  $("error").textContent = sentence;
  $("error").hidden = !sentence;
}

/** Clears the answer before a new sound. */
function clear(newName) {
  fail("");
  name = newName;
  player.pause();
  if (player.src) URL.revokeObjectURL(player.src);
  player.removeAttribute("src");
  words.clear();
  $("events").replaceChildren();
  drawing.clear();
  $("answer").hidden = false;
  $("words").hidden = isClassifier || isListener;
  $("events").hidden = !isListener;
  for (const part of [player, $("bars"), $("files"), drawing.figure]) part.hidden = true;
}

/** Shows new results for a sound. */
function show({ from, words: newWords, picture, classes, duration }) {
  if (isListener) showEvents(newWords);
  else if (newWords && !isClassifier) words.update(from, newWords);
  if (picture?.peaks.length) drawing.show(picture, duration);
  if (classes) showClasses(classes);
}

/** Shows the final result for a sound, and its player. */
function finish(answer, file) {
  show(answer);
  player.src = URL.createObjectURL(file);
  player.hidden = false;
  words.finish();
  $("files").hidden = !words.list.length;
  const isEmpty = isListener ? !$("events").children.length : !answer.classes && !words.list.length;
  const none = isListener ? "No keyword was detected." : "No words were recognized.";
  ready(isEmpty ? none : `Done: ${clock(answer.duration)} of sound.`);
}

async function open(file, label = file.name) {
  clear(label);
  $("progress").hidden = false;
  $("progress").value = 0;
  showStatus("Reading the file");
  try {
    finish(await ask("file", { file }), file);
  } catch (error) {
    if (error.aborted) return;
    $("answer").hidden = true;
    fail(error.message);
  }
}

async function startSpeaking() {
  clear("recording");
  $("clock").textContent = "0.0 s";
  const now = new Microphone(model.rate);
  microphone = now;
  try {
    await now.open((samples) => {
      ask("accept", { samples }).catch((error) => error.aborted || fail(error.message));
      $("clock").textContent = `${now.seconds.toFixed(1)} s`;
      document.querySelector(".meter span").style.transform = `scaleX(${now.level})`;
    }, () => ask("begin"));
  } catch (error) {
    microphone = undefined;
    $("answer").hidden = true;
    fail(error.message);
    return;
  }
  speaking(true);
  showStatus("Listening");
}

async function stopSpeaking() {
  const now = microphone;
  speaking(false);
  enable(false);
  showStatus("Finishing");
  await now.close();
  microphone = undefined;
  try {
    finish(await ask("finish"), wavFile(now.pieces, model.rate));
  } catch (error) {
    fail(error.message);
  }
  enable(true);
  $("speak").focus();
}

function speaking(on) {
  const button = $("speak");
  button.setAttribute("aria-pressed", on);
  button.querySelector(".text").textContent = on ? "Stop" : "Speak";
  for (const input of inputs) input.disabled = on && input !== button;
  document.querySelector(".meter span").style.transform = "";
}

/** Adds keywords above the earlier ones; pressing one plays it. */
function showEvents(events) {
  for (const { keyword, time, score } of events) {
    const button = Object.assign(text("button", keyword), { type: "button" });
    button.addEventListener("click", () => {
      if (!player.src) return;
      player.currentTime = Math.max(0, time - 1);
      player.play().catch(() => {}); // Playback may be paused at once.
    });
    const details = [clock(time), `score ${score.toFixed(1)}`].map((content) => text("span", content));
    $("events").prepend(row("p", [button, ...details]));
  }
}

function showClasses(classes) {
  const items = classes.map(({ label, probability }) => {
    const share = `${(100 * probability).toFixed(1)}%`;
    const meter = Object.assign(document.createElement("meter"), { value: probability, textContent: share });
    meter.setAttribute("aria-label", label);
    return row("li", [text("span", label), meter, Object.assign(text("span", share), { className: "share" })]);
  });
  $("bars").replaceChildren(...items);
  $("bars").hidden = false;
  const { label, probability } = classes[0];
  const cells = [name, label, `${(100 * probability).toFixed(1)}%`].map((content) => text("td", content));
  $("history").querySelector("tbody").prepend(row("tr", cells));
  $("history").hidden = false;
}

function text(tag, content) {
  return Object.assign(document.createElement(tag), { textContent: content });
}

function row(tag, children) {
  const element = document.createElement(tag);
  element.append(...children);
  return element;
}

function megabytes(bytes) {
  return (bytes / 1e6).toFixed(1);
}

function clock(seconds) {
  if (seconds < 60) return `${seconds.toFixed(1)} s`;
  return `${Math.floor(seconds / 60)}:${`${Math.floor(seconds % 60)}`.padStart(2, "0")} min`;
}

$("speak").addEventListener("click", () => (microphone ? stopSpeaking() : startSpeaking()));
$("file").addEventListener("change", () => {
  const [file] = $("file").files;
  if (file) open(file);
  $("file").value = "";
});
$("precision").addEventListener("change", load);
$("language-model")?.addEventListener("change", load);
hotWords?.addEventListener("change", () => {
  remember(hotWords.value);
  expectWords();
});
$("files").addEventListener("click", ({ target }) => {
  if (target.dataset.format) words.save(target, name);
});
addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dropping");
});
addEventListener("dragleave", () => document.body.classList.remove("dropping"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dropping");
  const [file] = event.dataTransfer.files;
  if (file && model && !microphone) open(file);
});

/** Registers the service worker, which caches everything loaded from now on, so that the page opens offline. */
async function keepOffline() {
  const workers = navigator.serviceWorker;
  if (!workers || workers.controller) return;
  const controlled = new Promise((resolve) => workers.addEventListener("controllerchange", resolve, { once: true }));
  const timeout = new Promise((resolve) => setTimeout(resolve, 1500));
  await workers.register("service-worker.js").then(() => Promise.race([controlled, timeout]), () => {});
}

/** Stores the words of the field for this page in the browser, or returns the stored ones if called without words. */
function remember(words) {
  const name = `words to expect ${location.pathname}`;
  try {
    if (words !== undefined) localStorage.setItem(name, words);
    return localStorage.getItem(name) ?? "";
  } catch {
    return ""; // The browser does not allow storage.
  }
}

if (hotWords) hotWords.value = remember();
await keepOffline();
await load();
