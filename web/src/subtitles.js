// Writes transcripts as text, SubRip, WebVTT and JSON, like `hf_speech.decoding.subtitles`.
//
// A cue is the text on the screen at one time: it contains as many words as fit into its lines and its duration, ends at
// pauses, stays long enough to be read, and does not overlap the next one. Unlike in the Python package, words longer than
// a line are not divided, as scripts without spaces would require.

/** @typedef {import("./ctc.js").Word} Word */
/** @typedef {{ start: number, end: number, lines: string[] }} Cue In milliseconds. */

const MAX_LINE_LENGTH = 42;
const MAX_LINES = 2;
const MAX_DURATION = 7;
const MIN_DURATION = 0.8;
const MAX_PAUSE = 1.5;

/**
 * @param {Word[]} words
 * @returns {Cue[]}
 */
export function makeCues(words) {
  /** @type {Word[][]} */
  const groups = [];
  for (const word of words) {
    const group = groups.at(-1);
    const fits =
      group &&
      word.end - group[0].start <= MAX_DURATION &&
      word.start - group[group.length - 1].end <= MAX_PAUSE &&
      wrap([...group, word]).length <= MAX_LINES;
    if (fits) group.push(word);
    else groups.push([word]);
  }
  /** @type {number[]} */
  const starts = [];
  for (const group of groups) starts.push(Math.max(milliseconds(group[0].start), (starts.at(-1) ?? -1) + 1));
  return groups.map((group, index) => {
    const start = starts[index];
    const end = Math.max(milliseconds(group[group.length - 1].end), start + milliseconds(MIN_DURATION));
    const latest = starts[index + 1] ?? end;
    return { start, end: Math.min(end, start + milliseconds(MAX_DURATION), latest), lines: wrap(group) };
  });
}

/** @param {Word[]} words */
export function toText(words) {
  return `${words.map((word) => word.text).join(" ")}\n`;
}

/** @param {Word[]} words */
export function toSrt(words) {
  const blocks = makeCues(words).map(
    ({ start, end, lines }, index) => `${index + 1}\n${time(start, ",")} --> ${time(end, ",")}\n${lines.join("\n")}\n`,
  );
  return blocks.join("\n");
}

/** @param {Word[]} words */
export function toVtt(words) {
  const blocks = makeCues(words).map(
    ({ start, end, lines }) => `${time(start, ".")} --> ${time(end, ".")}\n${escapeHtml(lines.join("\n"))}\n`,
  );
  return ["WEBVTT\n", ...blocks].join("\n");
}

/**
 * @param {Word[]} words
 * @param {string} file The name of the sound.
 */
export function toJson(words, file) {
  const rows = words.map(({ text, start, end, confidence }) => ({
    text,
    start: round(start, 3),
    end: round(end, 3),
    confidence: round(confidence, 4),
  }));
  return `${JSON.stringify({ file, text: words.map((word) => word.text).join(" "), words: rows }, null, 2)}\n`;
}

/** @param {Word[]} words */
function wrap(words) {
  /** @type {string[]} */
  const lines = [];
  for (const { text } of words) {
    const last = lines.length - 1;
    if (lines.length && columns(`${lines[last]} ${text}`) <= MAX_LINE_LENGTH) lines[last] += ` ${text}`;
    else lines.push(text);
  }
  return lines;
}

const WIDE = /[\u1100-\u115f\u2e80-\u303e\u3041-\u33ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff00-\uff60\uffe0-\uffe6]/u;

/**
 * Returns the width of a text: wide characters, such as Chinese ones, count twice, combining marks do not count.
 * @param {string} text
 */
function columns(text) {
  return Array.from(text.replace(/\p{M}/gu, "")).reduce((sum, letter) => sum + (WIDE.test(letter) ? 2 : 1), 0);
}

/** @param {number} seconds */
function milliseconds(seconds) {
  return Math.round(seconds * 1000);
}

/**
 * @param {number} ms
 * @param {string} point
 */
function time(ms, point) {
  const parts = [Math.floor(ms / 3_600_000), Math.floor(ms / 60_000) % 60, Math.floor(ms / 1000) % 60];
  return `${parts.map((part) => `${part}`.padStart(2, "0")).join(":")}${point}${`${ms % 1000}`.padStart(3, "0")}`;
}

/** @param {string} text */
function escapeHtml(text) {
  return text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");
}

/**
 * @param {number} value
 * @param {number} digits
 */
function round(value, digits) {
  return Math.round(value * 10 ** digits) / 10 ** digits;
}
