// Loads onnxruntime-web from the files beside this page. The WebAssembly file is compressed, because static servers do not
// compress such files themselves.

import * as ort from "../vendor/ort.wasm.bundle.min.mjs";
import { download } from "./download.js";

export { ort };

export async function prepareRuntime(onProgress) {
  const url = new URL("../vendor/ort-wasm-simd-threaded.wasm.gz", import.meta.url);
  const content = await download(url, 3_700_000, onProgress);
  onProgress?.(content.length, content.length);
  const isCompressed = content[0] === 0x1f && content[1] === 0x8b; // Some servers make the browser decompress it.
  const stream = new Blob([content]).stream();
  const plain = isCompressed ? stream.pipeThrough(new DecompressionStream("gzip")) : stream;
  ort.env.wasm.wasmBinary = await new Response(plain).arrayBuffer();
}
