// From weights to an adapter: what Generator.generate does (paragon/generator/generator.py).
// For one weight vector, a denoiser of one token with adaptive norms, and no guidance.

class Generator {
  constructor(tensors, about) {
    this.about = about;
    this.part = (name) => tensors[`generator.${name}`].values;
    this.noise = tensors.noise.values; // [K]
    this.blocks = about.settings.blocks;
    this.schedule = schedule(about.settings.diffusion_steps);
    this.times = times(about.settings.diffusion_steps, about.settings.sampler_steps);
  }

  // The adapter's parameters [P] for weights [O].
  generate(weights) {
    return this.decode(this.ddim(lift(weights, this.about.floor)));
  }

  // Latent.decode (latent.py): vector = mean + scale * z @ basis.
  decode(latent) {
    const mean = this.part("latent.mean"), basis = this.part("latent.basis"); // [P], [K, P]
    const scale = this.part("latent.scale")[0];
    const vector = Float64Array.from(mean);
    for (let k = 0, at = 0; k < latent.length; k++) {
      const share = scale * latent[k];
      for (let p = 0; p < vector.length; p++) vector[p] += share * basis[at++];
    }
    return Float32Array.from(vector);
  }

  // ddim (sampler.py) with eta = 0: predict v, take clean vector and noise from it, mix again.
  ddim(condition) {
    const { alphaBar, signal, noise } = this.schedule;
    let x = this.noise; // [K]
    this.times.forEach((now, index) => {
      const v = this.denoise(x, now, condition); // [K]
      const after = index + 1 < this.times.length ? alphaBar[this.times[index + 1]] : 1;
      const a = signal[now], s = noise[now];
      x = x.map((value, k) => {
        const clean = a * value - s * v[k]; // Schedule.clean
        const eps = s * value + a * v[k]; // Schedule.epsilon
        return Math.sqrt(after) * clean + Math.sqrt(1 - after) * eps;
      });
    });
    return x;
  }

  // Denoiser.forward (denoiser.py): the predicted v [K] of a noisy latent x [K] at step t.
  denoise(x, t, weights) {
    const step = this.mlp("denoiser.embed_step", sinusoidal(t, 64)); // [w]
    const embedded = this.mlp("denoiser.embed_weights.embed", weightFeatures(weights)); // [w]
    const condition = silu(step.map((value, i) => value + embedded[i])); // [w]
    let h = this.linear("denoiser.embed_token", x); // [w]
    for (let block = 0; block < this.blocks; block++) {
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

// sinusoidal (denoiser.py)
function sinusoidal(position, size) {
  const half = size / 2;
  const angle = (i) => position * Math.exp((i * -Math.log(1e4)) / (half - 1));
  return Float32Array.from({ length: size }, (_, i) =>
    i < half ? Math.sin(angle(i)) : Math.cos(angle(i - half)));
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

// Schedule (schedule.py): alpha_bar, a_t = sqrt(alpha_bar) and s_t = sqrt(1 - alpha_bar), [T] each.
function schedule(steps, first = 1e-4, last = 0.02) {
  let product = 1;
  const alphaBar = Float64Array.from({ length: steps }, (_, t) => {
    const beta = (first + ((last - first) * t) / (steps - 1)) * (1000 / steps);
    return (product *= 1 - Math.min(beta, 0.999));
  });
  const root = (values) => Float32Array.from(values, Math.sqrt);
  return { alphaBar, signal: root(alphaBar), noise: root(alphaBar.map((value) => 1 - value)) };
}

// The evenly spaced times of ddim, from the last step to 0, halves rounded to even.
function times(steps, count) {
  return Array.from({ length: count }, (_, i) => {
    const time = count > 1 ? (steps - 1) * (1 - i / (count - 1)) : steps - 1;
    const below = Math.floor(time);
    return time - below === 0.5 ? below + (below % 2) : Math.round(time);
  });
}
