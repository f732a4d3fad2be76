// Draws an answer: words or labels, player, waveform and features, downloads; or a table. Runs inside gr.HTML (`result` in
// page.py), which provides element, props and watch. All text is set with textContent, so that it is never parsed as HTML.

const SVG = "http://www.w3.org/2000/svg";
let stop = () => {};
let session = []; // the answers of this page, newest first; stored only in the browser

function make(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (name === "style") for (const [property, setting] of Object.entries(value)) node.style.setProperty(property, setting);
    else if (value !== undefined && value !== false) node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}

const percent = (fraction) => `${Math.round(100 * fraction)}%`;
const exactPercent = (fraction) => `${(100 * fraction).toFixed(1)}%`;
const clock = (seconds) => `${Math.floor(seconds / 60)}:${(seconds % 60).toFixed(1).padStart(4, "0")}`;

function render() {
  stop();
  const answer = element.querySelector(".answer");
  if (!answer) return;
  answer.replaceChildren();
  const value = props.value;
  if (!value || typeof value !== "object") {
    answer.append(make("p", { class: "answer-note" }, answer.dataset.hint));
    return;
  }
  if (value.error) {
    answer.append(make("p", { class: "answer-error", role: "alert" }, value.error));
    return;
  }
  if (value.rows) {
    answer.append(makeTable(value.headers, value.rows));
    return;
  }
  const audio = make("audio", { controls: true, src: value.audio, preload: "auto", "aria-label": `Play ${value.name}` });
  const playFrom = (seconds) => {
    audio.currentTime = seconds;
    audio.play();
  };
  const words = value.words ? makeWords(value.words, playFrom) : null;
  const picture = makePicture(value, playFrom);
  if (value.note) answer.append(make("p", { class: "answer-note", role: "status" }, value.note));
  if (value.labels) answer.append(makeBars(value.labels));
  if (words) answer.append(words.node);
  answer.append(audio);
  if (value.files) answer.append(makeFiles(value));
  answer.append(picture.node);
  if (value.labels) {
    const [label, probability] = value.labels[0];
    session = [[value.name, `${value.duration.toFixed(1)} s`, label, exactPercent(probability)], ...session].slice(0, 100);
    answer.append(makeSession());
  }
  follow(audio, (time) => {
    words?.show(time);
    picture.show(time);
  });
}

// The words as buttons with a single tab stop; arrow keys move between words, Enter plays from a word.
function makeWords(words, playFrom) {
  const node = make("div", { class: "words", role: "group", "aria-label": "Words in order; press one to play from there" });
  const buttons = words.map(([text, start, end, confidence], index) =>
    make(
      "button",
      {
        type: "button",
        class: "word",
        tabindex: index ? -1 : 0,
        title: `${clock(start)}, confidence ${percent(confidence)}`,
        "data-start": start,
        style: { "--doubt": (1 - confidence).toFixed(3) },
        onclick: () => playFrom(start),
      },
      text,
    ),
  );
  buttons.forEach((button, index) => node.append(index ? " " : "", button));
  node.addEventListener("keydown", (event) => {
    const focused = buttons.indexOf(document.activeElement);
    const last = buttons.length - 1;
    const target = { ArrowRight: focused + 1, ArrowLeft: focused - 1, Home: 0, End: last }[event.key];
    if (target === undefined || !buttons[target]) return;
    event.preventDefault();
    buttons.forEach((button, index) => (button.tabIndex = index === target ? 0 : -1));
    buttons[target].focus();
  });
  let current = null;
  const show = (time) => {
    // A word stays highlighted until the next one, for up to 0.25 s after its end.
    const index = time === null ? -1 : words.findLastIndex(([, start]) => start <= time + 0.02);
    const found = index >= 0 && time < words[index][2] + 0.25 ? buttons[index] : null;
    if (found === current) return;
    current?.classList.remove("now");
    found?.classList.add("now");
    current = found;
  };
  const block = make("div", {}, node);
  if (words.length) block.append(make("p", { class: "legend" }, make("span", { class: "word unsure" }, "shaded"), " where the model is less confident"));
  return { node: block, show };
}

function makeBars(labels) {
  const list = make("ol", { class: "bars", "aria-label": "Labels and their probabilities" });
  for (const [label, probability] of labels) {
    const bar = make("span", { class: "bar", style: { width: `${(100 * probability).toFixed(1)}%` } });
    const percentage = exactPercent(probability);
    list.append(make("li", {}, make("span", { class: "label" }, label), make("span", { class: "track", "aria-hidden": "true" }, bar), make("span", { class: "share" }, percentage)));
  }
  return list;
}

function makeTable(headers, rows) {
  const head = make("tr", {}, ...headers.map((header) => make("th", { scope: "col" }, header)));
  const body = rows.map((row) => make("tr", {}, ...row.map((cell) => make("td", {}, cell))));
  return make("div", { class: "scroller" }, make("table", {}, make("thead", {}, head), make("tbody", {}, ...body)));
}

function makeSession() {
  const section = make("section", { class: "session", "aria-label": "This session" });
  const clear = () => {
    session = [];
    section.remove();
  };
  section.append(makeTable(["file", "length", "label", "probability"], session), make("button", { type: "button", class: "clear", onclick: clear }, "Clear the table"));
  return section;
}

// Waveform, features and words on one time axis; long recordings scroll. A click plays from that time.
function makePicture(value, playFrom) {
  const { wave, duration, words } = value;
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", `0 -100 ${wave.length} 200`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("class", "wave");
  const path = document.createElementNS(SVG, "path");
  const top = wave.map(([, high], x) => `${x ? "L" : "M"}${x + 0.5} ${-high}`);
  const bottom = wave.map(([low], x) => `L${x + 0.5} ${-low}`).reverse();
  path.setAttribute("d", `${top.join("")}${bottom.join("")}Z`);
  svg.append(path);
  const head = make("div", { class: "head" });
  const width = Math.min(duration * pixelsPerSecond(words ?? [], duration), 16000);
  const canvas = make("div", { class: "canvas", style: { width: `max(100%, ${width}px)` } }, svg);
  canvas.append(make("img", { class: "features", src: value.features, alt: "" }));
  if (words?.length) {
    const lane = make("div", { class: "lane" });
    for (const [index, [text, start, end, confidence]] of words.entries()) {
      const share = (seconds) => `${(100 * seconds) / duration}%`;
      const available = (words[index + 1]?.[1] ?? duration) - start;
      const style = { left: share(start), "min-width": share(end - start), "max-width": share(Math.max(available, end - start)), "--doubt": (1 - confidence).toFixed(3) };
      lane.append(make("span", { class: "mark", title: text, style }, text));
    }
    canvas.append(lane);
  }
  canvas.append(head);
  canvas.addEventListener("click", (event) => {
    const box = canvas.getBoundingClientRect();
    playFrom((duration * (event.clientX - box.left)) / box.width);
  });
  const parts = `waveform, ${value.features_label}${words ? ", words" : ""}`;
  const scroller = make("div", { class: "picture", role: "img", tabindex: 0, "aria-label": `${value.name}: ${parts} over ${duration.toFixed(1)} seconds` }, canvas);
  const node = make("figure", {}, scroller, make("figcaption", {}, `${value.name}, ${duration.toFixed(1)} s: ${parts}`));
  const show = (time) => {
    head.style.display = time === null ? "none" : "block";
    if (time === null) return;
    const x = (time / duration) * canvas.clientWidth;
    head.style.left = `${x}px`;
    if (x < scroller.scrollLeft || x > scroller.scrollLeft + scroller.clientWidth) scroller.scrollLeft = x - 20;
  };
  return { node, show };
}

// Wide enough to fit the text of each word before the next one, between 220 and 600 pixels per second.
function pixelsPerSecond(words, duration) {
  const needed = words.map(([text, start], index) => (7 * text.length + 8) / ((words[index + 1]?.[1] ?? duration) - start));
  return Math.min(600, Math.max(220, ...needed));
}

function makeFiles(value) {
  const status = make("span", { class: "said", role: "status" });
  const copy = make("button", { type: "button", onclick: () => copyText(value.files.txt.trim()).then((done) => (status.textContent = done ? "Copied." : "The browser does not allow this page to copy.")) }, "Copy");
  const row = make("div", { class: "files" }, copy);
  for (const [extension, content] of Object.entries(value.files)) {
    row.append(make("button", { type: "button", "aria-label": `Download as ${extension}`, onclick: () => download(`${value.stem}.${extension}`, content) }, `↓ ${extension}`));
  }
  row.append(status);
  return row;
}

async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = make("textarea", { style: { position: "fixed", opacity: 0 } });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    return done;
  }
}

function download(name, content) {
  const url = URL.createObjectURL(new Blob([content], { type: "text/plain;charset=utf-8" }));
  const link = make("a", { href: url, download: name });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}

// Calls show(time) for every animation frame while the sound plays, and show(null) when it has ended.
function follow(audio, show) {
  let frame = 0;
  const tick = () => {
    show(audio.currentTime);
    frame = requestAnimationFrame(tick);
  };
  const cancel = () => cancelAnimationFrame(frame);
  audio.addEventListener("play", () => {
    cancel();
    tick();
  });
  audio.addEventListener("pause", cancel);
  audio.addEventListener("seeked", () => show(audio.currentTime));
  audio.addEventListener("ended", () => {
    cancel();
    show(null);
  });
  show(null);
  stop = () => {
    cancel();
    audio.pause();
  };
}

watch("value", render);
render();
