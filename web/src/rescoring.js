// The probability of a given text, summed over all alignments, like in `hf_speech.decoding.phones`.

const FLOOR = -1e4; // For a text that does not fit into the frames.

/**
 * Computes the natural logarithm of the probability of tokens with the forward algorithm of CTC (Graves et al. 2006,
 * section 4.1).
 * @param {Float64Array[]} frames Probabilities of the tokens; not logarithms, so that sums are fast.
 * @param {number[]} ids Tokens without blanks.
 * @param {number} blank
 * @param {number} [open] The number of tokens at the end that may be missing.
 */
export function logProbability(frames, ids, blank, open = 0) {
  const states = Uint16Array.from([blank, ...ids.flatMap((id) => [id, blank])]);
  const last = states.length - 1;
  const end = Math.max(0, last - 1 - 2 * open); // The first state in which a path may end.
  // One zero before the first state, and two states in which a path may begin.
  const forward = new Float64Array(states.length + 2);
  forward[1] = 1;
  let logScale = 0;
  frames.forEach((frame, number) => {
    // A path advances by at most two states per frame.
    const [lowest, highest] = [Math.max(0, end - 2 * (frames.length - 1 - number)), Math.min(last, 2 * number + 1)];
    let largest = 0;
    for (let state = highest; state >= lowest; state--) {
      // The blank between two different tokens may be skipped.
      const mayJump = state & 1 && states[state] !== states[state - 2];
      const before = forward[state + 2] + forward[state + 1] + (mayJump ? forward[state] : 0);
      const now = before * frame[states[state]];
      forward[state + 2] = now;
      if (now > largest) largest = now;
    }
    forward[1] = 0;
    if (!largest) return;
    logScale += Math.log(largest);
    for (let state = lowest; state <= highest; state++) forward[state + 2] /= largest;
    for (let state = 0; state < lowest; state++) forward[state + 2] = 0;
  });
  const probability = forward.subarray(end + 2).reduce((sum, value) => sum + value, 0);
  return probability > 0 ? Math.max(FLOOR, Math.log(probability) + logScale) : FLOOR;
}

/**
 * Returns whether tokens fit into a number of frames, with a blank between equal tokens.
 * @param {number[]} ids
 * @param {number} frames
 */
export function fits(ids, frames) {
  return ids.reduce((count, id, index) => count + (id === ids[index - 1] ? 2 : 1), 0) <= frames;
}
