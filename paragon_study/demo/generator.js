// From weights to an adapter: what Generator.generate does (paragon/generator/generator.py).
// For one weight vector, and a residual network that predicts clean latents.

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

  // ddim (diffusion.py) with eta = 0: predict the clean latent, take the noise from it, mix again.
  ddim(weights) {
    const embedded = this.mlp("denoiser.embed_weights.embed", weightFeatures(weights)); // [w]
    let x = this.noise; // [K]
    for (const { signal: a, noise: s, after, step } of this.steps) {
      const clean = this.guided(x, step, embedded); // [K]
      x = x.map((value, k) => {
        const eps = (value - a * clean[k]) / s;
        return Math.sqrt(after) * clean[k] + Math.sqrt(1 - after) * eps;
      });
    }
    return x;
  }

  // guided (diffusion.py): the clean latent [K], moved away from what it is without the weights.
  guided(x, step, embedded) {
    const guidance = this.about.guidance;
    const clean = this.denoise(x, step, embedded); // [K]
    if (guidance === 1) return clean;
    const free = this.denoise(x, step, this.part("denoiser.embed_weights.null")); // [K]
    return free.map((value, k) => value + guidance * (clean[k] - value));
  }

  // Denoiser.forward (denoisers.py): the clean latent [K] of a noisy one, x [K].
  // step, embedded: the embeddings [w] of the step and of the weights.
  denoise(x, step, embedded) {
    const condition = silu(embedded.map((value, i) => value + step[i])); // [w]
    let h = this.linear("denoiser.embed_token", x); // [w]
    for (let block = 0; block < this.about.settings.blocks; block++) {
      h = this.block(`denoiser.blocks.${block}`, h, condition);
    }
    const gain = this.part("denoiser.norm.weight"), shift = this.part("denoiser.norm.bias");
    const normed = layerNorm(h).map((value, i) => value * gain[i] + shift[i]); // [w]
    return this.linear("denoiser.output", normed);
  }

  // Block.forward: the condition shifts and scales the norm, and gates the layers.
  block(name, h, condition) {
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

  // mlp (denoisers.py): linear, SiLU, linear.
  mlp(name, x) {
    return this.linear(`${name}.2`, silu(this.linear(`${name}.0`, x)));
  }
}

// WeightEmbedding.forward (denoisers.py): the weights as they are, then their logarithms, [2 O].
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
