// Alignment of a known text: the most likely path through its tokens and blanks, like `hf_speech.decoding.alignment`.

/**
 * @param {Float32Array[]} frames Natural logarithms of the tokens' probabilities.
 * @param {number[]} ids Tokens without blanks; they must fit into the frames.
 * @param {number} blank
 * @returns {{ id: number, start: number, end: number, probability: number }[]} For each token its first frame, the frame
 *   after its last one, and its highest probability in between.
 */
export function align(frames, ids, blank) {
  const states = [blank, ...ids.flatMap((id) => [id, blank])];
  // A path may skip a state only if it is the blank between two different tokens.
  const skippable = states.map((id, state) => state % 2 === 1 && state > 1 && id !== states[state - 2]);
  const steps = frames.map(() => new Uint8Array(states.length));
  let scores = new Float64Array(states.length).fill(-Infinity);
  frames.forEach((frame, number) => {
    const before = scores;
    scores = new Float64Array(states.length).fill(-Infinity);
    for (let state = 0; state < states.length; state++) {
      let best = number ? before[state] : state < 2 ? 0 : -Infinity;
      for (let step = 1; number && step <= (skippable[state] ? 2 : 1) && step <= state; step++) {
        if (before[state - step] > best) {
          best = before[state - step];
          steps[number][state] = step;
        }
      }
      scores[state] = best + frame[states[state]];
    }
  });
  const spans = ids.map((id) => ({ id, start: 0, end: 0, probability: 0 }));
  let state = states.length - 1;
  if (state && scores[state] < scores[state - 1]) state -= 1;
  for (let number = frames.length - 1; number >= 0; number--) {
    if (state % 2) {
      const span = spans[(state - 1) / 2];
      span.end ||= number + 1;
      span.start = number;
      span.probability = Math.max(span.probability, Math.exp(frames[number][span.id]));
    }
    state -= steps[number][state];
  }
  return spans;
}
