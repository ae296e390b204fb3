// The Pareto front: what the study measured over all users, and the point of the chosen weight.

const SVG = "http://www.w3.org/2000/svg";
const FRAME = { left: 52, right: 428, top: 14, bottom: 298 };

function svgElement(parent, name, attributes, text = "") {
  const element = parent.appendChild(document.createElementNS(SVG, name));
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}

// The corners of the markers of the table of methods: how many, and the angle of the first.
const CORNERS = { ">": [3, 0], "<": [3, Math.PI], 8: [8, Math.PI / 8], "*": [10, -Math.PI / 2] };

// A marker as a path around (x, y): a round one if it has no corners.
function markerPath(marker, x, y, size) {
  const [count, turn] = CORNERS[marker] ?? [24, 0];
  const corners = Array.from({ length: count }, (_, i) => {
    const angle = turn + (2 * Math.PI * i) / count;
    const radius = size * (marker !== "*" ? 1 : i % 2 ? 0.6 : 1.5);
    return [x + radius * Math.cos(angle), y + radius * Math.sin(angle)];
  });
  return `${pathThrough(corners)}Z`;
}

function pathThrough(points) {
  return `M${points.map((point) => point.map((c) => c.toFixed(1)).join(",")).join("L")}`;
}

// A piece of a method's line with its marker: the key in the switch.
function keyOf(method) {
  const svg = document.createElementNS(SVG, "svg");
  svg.setAttribute("viewBox", "0 0 38 16");
  svg.setAttribute("aria-hidden", "true");
  if (method.name !== "backbone") {
    svgElement(svg, "path", { d: "M1,8H37", class: "curve key", "stroke-dasharray": method.dash });
  }
  svgElement(svg, "path", { d: markerPath(method.marker, 19, 8, 5), class: "spot key" });
  return svg;
}

// Round numbers between two limits.
function ticks(low, high, step) {
  const first = Math.ceil(low / step - 1e-9);
  const count = Math.floor(high / step - first + 1e-9) + 1;
  return Array.from({ length: count }, (_, i) => (first + i) * step);
}

class Front {
  constructor(svg, recommender, { methods, metrics, dials }) {
    Object.assign(this, { recommender, metrics });
    this.rows = [...dials.keys()];
    this.marked = this.rows.filter((row) => dials[row].every((part) => part % (metrics.length === 2 ? 10 : 4) === 0));
    const points = methods.flatMap(({ name }) => this.marked.map((row) => recommender.point(name, row)));
    const right = 1.02 * Math.max(...points.map((p) => p.means[0] + 1.96 * p.errors[0]));
    const low = Math.min(...points.map((p) => p.means[1] - 1.96 * p.errors[1])) - 0.02;
    const high = Math.max(...points.map((p) => p.means[1])) + 0.02;
    const scale = (from, to, start, end) => (v) => start + ((v - from) / (to - from)) * (end - start);
    this.x = scale(0, right, FRAME.left, FRAME.right);
    this.y = scale(low, high, FRAME.bottom, FRAME.top);
    this.axes(svg, right, low, high);
    this.groups = new Map(methods.map((method) => [method.name, this.curve(svg, method)]));
    this.bars = svgElement(svg, "path", { class: "bar" });
    this.here = svgElement(svg, "circle", { class: "here", r: 7 });
  }

  axes(svg, right, low, high) {
    const { left, bottom, top } = FRAME;
    const line = (d) => svgElement(svg, "path", { d, class: "grid" });
    const words = (text, transform, anchor = "middle") =>
      svgElement(svg, "text", { transform, "text-anchor": anchor }, text);
    for (const value of ticks(0, right, 0.02)) {
      line(`M${this.x(value)},${top}V${bottom}`);
      words(value.toFixed(2), `translate(${this.x(value)} ${bottom + 18})`);
    }
    for (const value of ticks(low, high, 0.1)) {
      line(`M${left},${this.y(value)}H${FRAME.right}`);
      words(value.toFixed(1), `translate(${left - 8} ${this.y(value) + 4})`, "end");
    }
    words("accuracy: NDCG@10, mean over users, 0 to 1",
      `translate(${(left + FRAME.right) / 2} ${bottom + 42})`);
    words("diversity: α-nDCG@10, 0 to about 1", `translate(13 ${(top + bottom) / 2}) rotate(-90)`);
  }

  curve(svg, { name, marker, dash }) {
    const group = svgElement(svg, "g", { style: `--mark: var(--${name})` });
    const points = (rows) => rows.map((row) => {
      const [accuracy, diversity] = this.recommender.point(name, row).means;
      return [this.x(accuracy), this.y(diversity)];
    });
    if (name !== "backbone" && this.metrics.length === 2) { // with three it is no line
      const d = pathThrough(points(this.rows));
      svgElement(group, "path", { d, class: "curve", "stroke-dasharray": dash });
    }
    for (const [x, y] of points(name === "backbone" ? [0] : this.marked)) {
      svgElement(group, "path", { d: markerPath(marker, x, y, 5), class: "spot" });
    }
    return group;
  }

  // Move the point; what it says of each objective is returned.
  show(method, row) {
    for (const [name, group] of this.groups) group.classList.toggle("chosen", name === method);
    const chosen = this.groups.get(method);
    chosen.parentNode.insertBefore(chosen, this.bars); // above the other curves
    const { means, errors } = this.recommender.point(method, row);
    const [accuracy, diversity] = means, [a, d] = errors.map((error) => 1.96 * error);
    const { x, y } = this, cx = x(accuracy), cy = y(diversity);
    this.bars.setAttribute("d", `M${x(accuracy - a)},${cy}H${x(accuracy + a)}` +
      `M${cx},${y(diversity - d)}V${y(diversity + d)}`);
    this.here.setAttribute("cx", cx);
    this.here.setAttribute("cy", cy);
    return this.metrics.map((metric, index) =>
      `${metric} ${means[index].toFixed(3)} ± ${(1.96 * errors[index]).toFixed(3)}`);
  }
}
