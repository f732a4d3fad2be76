// onnxruntime-web, the build for WebAssembly on the CPU. A static Space has a file of this name in place of this one,
// because a page without a build step cannot import packages by name.

import * as ort from "onnxruntime-web/wasm";

export { ort };

/**
 * Makes the runtime ready; here a bundler has already found its files.
 * @param {(loaded: number, total: number) => void} [onProgress] Called with bytes while something is downloaded.
 */
export async function prepareRuntime(onProgress) {
  onProgress?.(0, 0);
}
