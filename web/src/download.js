// Downloads with progress.

/** Thrown if a model cannot be loaded. The message is a sentence for the user. */
export class ModelError extends Error {}

/**
 * Fetches a URL and checks the status.
 * @param {URL} url
 */
export async function get(url) {
  const response = await fetch(url).catch(() => null);
  if (!response?.ok) throw new ModelError(`${url} cannot be loaded: check the connection, and load the page again.`);
  return response;
}

/**
 * Downloads a file, with progress.
 * @param {URL} url
 * @param {number} size Its expected size in bytes, because servers that compress do not report it.
 * @param {(loaded: number, total: number) => void} onProgress
 * @param {string} [sha256] The expected digest.
 */
export async function download(url, size, onProgress, sha256) {
  const response = await get(url);
  const reader = /** @type {ReadableStream<Uint8Array>} */ (response.body).getReader();
  const pieces = [];
  let loaded = 0;
  for (let read = await reader.read(); !read.done; read = await reader.read()) {
    pieces.push(read.value);
    loaded += read.value.length;
    onProgress(loaded, Math.max(size, loaded));
  }
  const content = new Uint8Array(loaded);
  let at = 0;
  for (const piece of pieces) {
    content.set(piece, at);
    at += piece.length;
  }
  if (sha256 && globalThis.crypto?.subtle && (await digest(content)) !== sha256) {
    throw new ModelError(`${url} arrived damaged: load the page again.`);
  }
  return content;
}

/** @param {Uint8Array<ArrayBuffer>} content */
async function digest(content) {
  const bytes = new Uint8Array(await crypto.subtle.digest("SHA-256", content));
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
