// From an adapter to scores: adapt and item_table (paragon/adapters/adapter.py).

// One state [d] through an adapter [P]: s' = s + W2 relu(W1 s + b1) + b2, behind it V s' + u.
function adapt(state, vector, { dim: d, width: h, categories: m }) {
  let at = 0;
  const take = (count) => vector.subarray(at, (at += count));
  const w1 = take(h * d), b1 = take(h), w2 = take(d * h), b2 = take(d); // AdapterForm.unflatten
  const v = take(m * d), u = take(m);
  const hidden = linear(w1, b1, state).map((value) => Math.max(value, 0)); // [h]
  const change = linear(w2, b2, hidden); // [d]
  const adapted = state.map((value, i) => value + change[i]); // [d]
  const both = new Float32Array(d + m);
  both.set(adapted);
  both.set(linear(v, u, adapted), d);
  return both;
}

// Scores [n + 1] of the whole catalogue: s' . e_i, plus what each category of the item is worth.
// items [n + 1, d]; sets: of each item the numbers of its categories.
function catalogueScores(adapted, items, sets, d) {
  const scores = new Float32Array(sets.length);
  for (let item = 0, at = 0; item < scores.length; item++) {
    let sum = 0;
    for (let i = 0; i < d; i++) sum += adapted[i] * items[at++];
    for (const category of sets[item]) sum += adapted[d + category];
    scores[item] = sum;
  }
  return scores;
}

// top_k (paragon/metrics/ranking.py): the best items that are not excluded, ties in their order.
function topK(scores, excluded, count) {
  const best = []; // at most `count`, best first
  let least = -Infinity;
  for (let item = 0; item < scores.length; item++) {
    const score = scores[item];
    if (excluded[item] || (best.length === count && score <= least)) continue;
    let low = 0, high = best.length; // after all that are at least as good
    while (low < high) {
      const middle = (low + high) >> 1;
      if (scores[best[middle]] >= score) low = middle + 1;
      else high = middle;
    }
    best.splice(low, 0, item);
    if (best.length > count) best.pop();
    least = scores[best[best.length - 1]];
  }
  return best;
}
