// Runs exported models in JavaScript, where neither Python nor this package is: node run.cjs REQUEST.json
//
// The request names a file, whether it is a stream, and pieces of sound as lists of samples (for a whole model: clips,
// which make a batch). Printed are the logits of each clip or piece, as JSON. The streaming loop is that of docs/onnx.md.

const fs = require("fs");

const request = JSON.parse(fs.readFileSync(process.argv[2]));
const ort = require(request.package);

async function whole(session, clips) {
  const longest = Math.max(...clips.map((clip) => clip.length));
  const samples = new Float32Array(clips.length * longest);
  clips.forEach((clip, row) => samples.set(clip, row * longest));
  const outputs = await session.run({
    waveform: new ort.Tensor("float32", samples, [clips.length, longest]),
    lengths: new ort.Tensor("int64", BigInt64Array.from(clips.map((clip) => BigInt(clip.length)))),
  });
  return [{ dims: outputs.logits.dims, logits: Array.from(outputs.logits.data) }];
}

async function stream(session, pieces, description) {
  let states = {};
  for (const [name, shape] of Object.entries(description.states)) {
    const dims = shape.map((size) => (size === "batch" ? 1 : size));
    const size = dims.reduce((product, dim) => product * dim, 1);
    states[name] = new ort.Tensor("float32", new Float32Array(size), dims);
  }
  const heard = [];
  for (const [index, piece] of pieces.entries()) {
    const outputs = await session.run({
      waveform: new ort.Tensor("float32", Float32Array.from(piece), [1, piece.length]),
      final: new ort.Tensor("bool", [index === pieces.length - 1], [1]),
      ...states,
    });
    states = Object.fromEntries(Object.keys(states).map((name) => [name, outputs[`next_${name}`]]));
    heard.push({ dims: outputs.logits.dims, logits: Array.from(outputs.logits.data) });
  }
  return heard;
}

async function main() {
  ort.env.wasm.numThreads = 1;
  const session = await ort.InferenceSession.create(fs.readFileSync(request.model), { logSeverityLevel: 3 });
  const run = request.description.states && request.stream ? stream : whole;
  console.log(JSON.stringify(await run(session, request.sounds, request.description)));
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
