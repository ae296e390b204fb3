// From weights to an adapter: what Generator.generate does (paragon/generator/generator.py).
// For one weight vector, a denoiser of one token with adaptive norms, and no guidance.

class Generator {
  // steps: what each step of the sampler has for all weights (denoising_steps, demo/page.py).
  constructor(tensors, about, steps) {
    Object.assign(this, { about, steps });
    this.part = (name) => tensors[`generator.${name}`];
    this.noise = tensors.noise; // [K]
  }

  // The adapter's parameters [P] for weights [O].
  generate(weights) {
    return this.decode(this.ddim(lift(weights, this.about.floor)));
  }

  // Latent.decode: vector = mean + scale * z @ basis; without a basis, z is the whole vector.
  decode(latent) {
    const mean = this.part("latent.mean"), basis = this.part("latent.basis"); // [P], [K, P]
    const scale = this.part("latent.scale")[0];
    if (!basis) return mean.map((value, p) => value + scale * latent[p]);
    const vector = Float64Array.from(mean);
    for (let k = 0, at = 0; k < latent.length; k++) {
      const share = scale * latent[k];
      for (let p = 0; p < vector.length; p++) vector[p] += share * basis[at++];
    }
    return Float32Array.from(vector);
  }

  // ddim (sampler.py) with eta = 0: predict v, take clean vector and noise from it, mix again.
  ddim(weights) {
    const embedded = this.mlp("denoiser.embed_weights.embed", weightFeatures(weights)); // [w]
    let x = this.noise; // [K]
    for (const { signal: a, noise: s, after, step } of this.steps) {
      const v = this.denoise(x, silu(embedded.map((value, i) => value + step[i]))); // [K]
      x = x.map((value, k) => {
        const clean = a * value - s * v[k]; // Schedule.clean
        const eps = s * value + a * v[k]; // Schedule.epsilon
        return Math.sqrt(after) * clean + Math.sqrt(1 - after) * eps;
      });
    }
    return x;
  }

  // Denoiser.forward (denoiser.py): the predicted v [K] of a noisy latent x [K]; condition [w].
  denoise(x, condition) {
    let h = this.linear("denoiser.embed_token", x); // [w]
    for (let block = 0; block < this.about.settings.blocks; block++) {
      h = this.adaptiveBlock(`denoiser.blocks.${block}`, h, condition);
    }
    const gain = this.part("denoiser.norm.weight"), shift = this.part("denoiser.norm.bias");
    const normed = layerNorm(h).map((value, i) => value * gain[i] + shift[i]); // [w]
    return this.linear("denoiser.output", normed);
  }

  // AdaptiveBlock.forward: the condition shifts and scales the norm, and gates the layers.
  adaptiveBlock(name, h, condition) {
    const width = h.length;
    const modulation = this.linear(`${name}.modulate`, condition); // [3 w]
    const shift = modulation.subarray(0, width), scale = modulation.subarray(width, 2 * width);
    const gate = modulation.subarray(2 * width);
    const normed = layerNorm(h).map((value, i) => value * (1 + scale[i]) + shift[i]); // [w]
    const change = this.mlp(`${name}.mlp`, normed); // [w]
    return h.map((value, i) => value + gate[i] * change[i]);
  }

  linear(name, x) {
    return linear(this.part(`${name}.weight`), this.part(`${name}.bias`), x);
  }

  // mlp and feed_forward (denoiser.py): linear, SiLU, linear.
  mlp(name, x) {
    return this.linear(`${name}.2`, silu(this.linear(`${name}.0`, x)));
  }
}

// WeightEmbedding.forward (denoiser.py): the weights as they are, then their logarithms, [2 O].
function weightFeatures(weights) {
  const offset = 1e-3; // LOG_OFFSET (paragon/objectives/weights.py)
  return Float32Array.from([
    ...weights, ...weights.map((w) => Math.log(w + offset) / -Math.log(offset)),
  ]);
}

// lift (paragon/objectives/weights.py): every weight is at least its floor.
function lift(weights, floor) {
  const spare = weights.map((w, i) => Math.max(w - floor[i], 0));
  const total = spare.reduce((sum, s) => sum + s, 0);
  const left = 1 - floor.reduce((sum, f) => sum + f, 0);
  return floor.map((f, i) => f + (spare[i] * left) / total);
}
