// The transcript: a button for each word, shaded by its uncertainty. During a recording the last word is gray, because it may
// change. Arrow keys move between words.

import { toJson, toSrt, toText, toVtt } from "./hf-speech/subtitles.js";

export class Words {
  /**
   * @param {HTMLElement} box
   * @param {HTMLAudioElement} player
   */
  constructor(box, player) {
    this.box = box;
    this.player = player;
    this.clear();
    box.addEventListener("click", ({ target }) => this.#play(this.buttons.indexOf(target)));
    box.addEventListener("keydown", (event) => this.#move(event));
    player.addEventListener("play", () => requestAnimationFrame(() => this.#follow()));
    player.addEventListener("seeked", () => this.#mark());
  }

  clear() {
    this.list = [];
    this.buttons = [];
    this.finished = false;
    this.now = undefined;
    this.box.replaceChildren();
  }

  /** Replaces the words starting at an index. */
  update(from, words) {
    for (const button of this.buttons.splice(from)) {
      button.previousSibling?.remove(); // The space before it.
      button.remove();
    }
    this.list.splice(from, Infinity, ...words);
    for (const word of words) {
      const button = Object.assign(document.createElement("button"), { type: "button", textContent: word.text });
      button.tabIndex = this.buttons.length ? -1 : 0;
      button.title = `confidence ${Math.round(100 * word.confidence)}%`;
      button.style.setProperty("--uncertain", 1 - word.confidence);
      if (this.buttons.length) this.box.append(" ");
      this.box.append(button);
      this.buttons.push(button);
    }
    this.box.querySelector(".begun")?.classList.remove("begun");
    this.buttons.at(-1)?.classList.add("begun");
    if (!this.finished) this.box.scrollTop = this.box.scrollHeight;
  }

  finish() {
    this.finished = true;
    this.box.querySelector(".begun")?.classList.remove("begun");
    this.box.scrollTop = 0;
  }

  #play(index) {
    if (index < 0 || !this.finished) return;
    this.player.currentTime = this.list[index].start;
    this.player.play().catch(() => {}); // Playback may be paused at once.
  }

  #move(event) {
    const steps = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1, Home: -Infinity, End: Infinity };
    const focused = this.buttons.indexOf(document.activeElement);
    if (focused < 0 || !(event.key in steps)) return;
    event.preventDefault();
    const next = this.buttons[Math.max(0, Math.min(this.buttons.length - 1, focused + steps[event.key]))];
    this.buttons[focused].tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
  }

  #follow() {
    this.#mark();
    if (!this.player.paused) requestAnimationFrame(() => this.#follow());
  }

  /** Highlights the word that is playing. */
  #mark() {
    const time = this.player.currentTime + 0.001;
    const index = this.list.findLastIndex((word) => word.start <= time);
    const button = this.player.ended ? undefined : this.buttons[index];
    if (button === this.now) return;
    this.now?.classList.remove("now");
    button?.classList.add("now");
    button?.scrollIntoView({ block: "nearest" });
    this.now = button;
  }

  /** Copies the transcript, or saves it as a file. */
  async save(button, name) {
    const { format } = button.dataset;
    if (format === "copy") {
      await navigator.clipboard.writeText(toText(this.list).trim());
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = "Copy"), 1500);
      return;
    }
    const write = { txt: toText, srt: toSrt, vtt: toVtt, json: toJson }[format];
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([write(this.list, name)], { type: "text/plain" }));
    link.download = `${name.replace(/\.\w{1,5}$/, "")}.${format}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  }
}
