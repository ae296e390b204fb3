// The ten best items of a user: Rankings (paragon_study/demo/page.py), for one event.

const TOP = 10;
const RULES = { xquad: Coverage, mmr: Distance, generated_xquad: Coverage };

class Recommender {
  constructor(tensors, data) {
    Object.assign(this, { tensors, data });
    this.generator = new Generator(tensors, data.about.generator, data.steps);
    this.form = data.about.generator.collection.form;
    const none = new Float32Array(tensors["generator.latent.mean"].length);
    this.sources = [() => none, ...data.about.sources.map((weights) =>
      keepLast(() => this.generator.generate(weights)))];
    this.excluded = keepLast((user) => {
      const mask = new Uint8Array(data.titles.length);
      mask[0] = 1; // padding
      for (const item of data.histories[user]) mask[item] = 1;
      return mask;
    });
  }

  // The weights at a row of the dials.
  weights(row) {
    const dials = this.data.dials[row], total = dials.reduce((sum, part) => sum + part, 0);
    return dials.map((part) => part / total);
  }

  // The items of a user's list by a method at a step, and the milliseconds that it took.
  list(user, method, step) {
    const start = performance.now();
    const vector = this.vector(method, step); // [P]
    const ready = performance.now();
    const items = this.ordered(user, method, step, vector);
    return { items, adapter: ready - start, order: performance.now() - ready };
  }

  // The adapter that a method scores with; zeros change nothing.
  vector(method, step) {
    if (method === "generated") return this.generator.generate(this.weights(step));
    const source = method in RULES ? this.setting(method, step)[0] : 0;
    return this.sources[source]();
  }

  // Source, temperature, depth and weight of a re-ranker.
  setting(method, step) {
    return this.tensors[`rerank.${method}`].subarray(4 * step, 4 * step + 4);
  }

  ordered(user, method, step, vector) {
    const excluded = this.excluded(user);
    const scores = this.scores(user, vector);
    if (method === "category_bias") this.addBias(scores, step);
    if (!(method in RULES)) return topK(scores, excluded, TOP);
    const [, temperature, depth, weight] = this.setting(method, step);
    const best = topK(scores, excluded, depth);
    const relevance = probabilities(scores, excluded, best, temperature);
    const rule = new RULES[method](best.map((item) => this.data.sets[item]), this.form.categories);
    return rerank(rule, relevance, weight, TOP).map((index) => best[index]);
  }

  scores(user, vector) {
    const d = this.form.dim;
    const state = this.tensors.states.subarray(user * d, (user + 1) * d);
    const adapted = adapt(state, vector, this.form);
    return catalogueScores(adapted, this.tensors.items, this.data.sets, d);
  }

  // biased_scores (paragon/rivals/end_to_end.py)
  addBias(scores, step) {
    const worth = this.data.biases[step]; // [M]
    this.data.sets.forEach((set, item) => {
      if (set.length) scores[item] += set.reduce((sum, category) => sum + worth[category], 0);
    });
  }

  // What the study measured over all users at a row: the objectives' means and standard errors.
  point(method, row) {
    const count = this.data.metrics.length;
    const [means, errors] = [0, 1].map((half) =>
      this.tensors[`front.${method}`].subarray((2 * row + half) * count, (2 * row + half + 1) * count));
    return { means, errors };
  }
}

// The function `make`, whose last result is kept for as long as the argument stays the same.
function keepLast(make) {
  let made, last;
  return (next) => {
    if (made === undefined || next !== last) [made, last] = [make(next), next];
    return made;
  };
}
