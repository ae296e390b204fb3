// Numbers: the safetensors format, and the few layers that the denoiser is made of.
// A vector is a Float32Array; a matrix [rows, columns] is one too, row after row.

// safetensors.torch.load: 8 bytes with the length of a JSON header, the header, the numbers.
function readTensors(bytes) {
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  const start = 8 + Number(view.getBigUint64(0, true));
  const header = JSON.parse(new TextDecoder().decode(bytes.subarray(8, start)));
  const kinds = { F32: Float32Array, F64: Float64Array };
  const tensors = {};
  for (const [name, { dtype, data_offsets: [from, to] }] of Object.entries(header)) {
    tensors[name] = new kinds[dtype](bytes.slice(start + from, start + to).buffer);
  }
  return tensors;
}

const fromBase64 = (text) => Uint8Array.from(atob(text), (character) => character.charCodeAt(0));

// nn.Linear: weight [out, in] times x [in], plus bias [out].
function linear(weight, bias, x) {
  const size = x.length;
  const out = new Float32Array(bias.length);
  for (let row = 0, at = 0; row < out.length; row++) {
    let sum = bias[row];
    for (let column = 0; column < size; column++) sum += weight[at++] * x[column];
    out[row] = sum;
  }
  return out;
}

// F.silu
const silu = (x) => x.map((value) => value / (1 + Math.exp(-value)));

// nn.LayerNorm without an affine part.
function layerNorm(x) {
  const mean = x.reduce((sum, value) => sum + value, 0) / x.length;
  const variance = x.reduce((sum, value) => sum + (value - mean) ** 2, 0) / x.length;
  const scale = 1 / Math.sqrt(variance + 1e-5);
  return x.map((value) => (value - mean) * scale);
}
