// Re-rankers: greedy and its rules (paragon/reranking/rules.py), for one list.
// Gains and merits are rounded to 32 bits as there, so that equal ones are equal here too.

// Maximal marginal relevance: 1 minus the largest Jaccard similarity to an item above.
class Distance {
  constructor(sets) {
    this.sets = sets;
    this.least = new Float32Array(sets.length).fill(1);
  }

  gain(index) {
    return this.least[index];
  }

  add(chosen) {
    const above = this.sets[chosen];
    this.sets.forEach((own, index) => {
      const common = own.filter((category) => above.includes(category)).length;
      const union = own.length + above.length - common;
      const alike = union ? Math.fround(common / union) : 1; // two empty sets are alike
      this.least[index] = Math.min(this.least[index], 1 - alike);
    });
  }
}

// xQuAD: for each category of the item, the probability that nothing above has satisfied it.
class Coverage {
  constructor(sets, categories) {
    this.sets = sets;
    this.open = new Float32Array(categories).fill(1);
  }

  gain(index) {
    return this.sets[index].reduce((sum, category) => sum + this.open[category], 0);
  }

  add(chosen) {
    for (const category of this.sets[chosen]) this.open[category] /= 2;
  }
}

// greedy (reranking.py): each position takes the largest weight * relevance + (1 - weight) * gain.
// relevance: 0..1, falling; rule: a Distance or a Coverage.  Of equal merits the first wins.
function rerank(rule, relevance, weight, positions) {
  const alone = Float32Array.from(relevance, (value) => weight * value);
  const share = Math.fround(1 - weight);
  const order = [];
  while (order.length < positions) {
    let best = 0, most = -Infinity;
    for (let index = 0; index < alone.length; index++) {
      if (alone[index] <= -Infinity) continue;
      const merit = Math.fround(alone[index] + Math.fround(share * rule.gain(index)));
      if (merit > most) [best, most] = [index, merit];
    }
    order.push(best);
    alone[best] = -Infinity;
    rule.add(best);
  }
  return order;
}

// Candidates.best (reranking.py): the softmax of all that is not excluded, for the items `best`.
function probabilities(scores, excluded, best, temperature) {
  const top = scores[best[0]];
  let total = 0;
  scores.forEach((score, item) => {
    if (!excluded[item]) total += Math.exp((score - top) / temperature);
  });
  return best.map((item) => Math.exp((scores[item] - top) / temperature) / total);
}
