// Exports onnxruntime-web, the build for WebAssembly on the CPU. In a static Space, another file replaces this one, because
// a page without a build step cannot import packages by name.

import * as ort from "onnxruntime-web/wasm";

export { ort };

/**
 * Prepares the runtime, which needs no download here because a bundler includes its files.
 * @param {(loaded: number, total: number) => void} [onProgress] Called with bytes during a download.
 */
export async function prepareRuntime(onProgress) {
  onProgress?.(0, 0);
}
