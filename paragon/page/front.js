// The Pareto front: what the study measured over all users, and the point of the chosen weight.

const SVG = "http://www.w3.org/2000/svg";
const FRAME = { left: 52, right: 428, top: 14, bottom: 298 };

function svgElement(parent, name, attributes, text = "") {
  const element = parent.appendChild(document.createElementNS(SVG, name));
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  element.textContent = text;
  return element;
}

// A marker of the table of methods, as a path around (x, y).
function markerPath(marker, x, y, size) {
  const around = (count, turn, radius = () => 1) =>
    Array.from({ length: count }, (_, i) => {
      const angle = turn + (2 * Math.PI * i) / count;
      return [x + size * radius(i) * Math.cos(angle), y + size * radius(i) * Math.sin(angle)];
    });
  const shapes = {
    ">": () => around(3, 0),
    "<": () => around(3, Math.PI),
    8: () => around(8, Math.PI / 8),
    "*": () => around(10, -Math.PI / 2, (i) => (i % 2 ? 0.6 : 1.5)),
  };
  const corners = (shapes[marker] ?? (() => around(24, 0)))();
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
  constructor(svg, recommender, methods) {
    this.recommender = recommender;
    const points = methods.flatMap(({ name }) =>
      ticks(0, 100, 10).map((step) => recommender.point(name, step)));
    const limits = (of) => [Math.min(...points.map(of)), Math.max(...points.map(of))];
    const [, right] = limits((p) => p.accuracy + 1.96 * p.errors[0]);
    const [low] = limits((p) => p.diversity - 1.96 * p.errors[1]);
    const [, high] = limits((p) => p.diversity);
    const scale = (from, to, start, end) => (v) => start + ((v - from) / (to - from)) * (end - start);
    this.x = scale(0, right * 1.02, FRAME.left, FRAME.right);
    this.y = scale(low - 0.02, high + 0.02, FRAME.bottom, FRAME.top);
    this.axes(svg, right * 1.02, low - 0.02, high + 0.02);
    this.groups = new Map(methods.map((method) => [method.name, this.curve(svg, method)]));
    this.bars = svgElement(svg, "path", { class: "bar" });
    this.here = svgElement(svg, "circle", { class: "here", r: 7 });
  }

  axes(svg, right, low, high) {
    for (const value of ticks(0, right, 0.02)) {
      svgElement(svg, "path", { d: `M${this.x(value)},${FRAME.top}V${FRAME.bottom}`, class: "grid" });
      const place = { x: this.x(value), y: FRAME.bottom + 18, "text-anchor": "middle" };
      svgElement(svg, "text", place, value.toFixed(2));
    }
    for (const value of ticks(low, high, 0.1)) {
      svgElement(svg, "path", { d: `M${FRAME.left},${this.y(value)}H${FRAME.right}`, class: "grid" });
      const place = { x: FRAME.left - 8, y: this.y(value) + 4, "text-anchor": "end" };
      svgElement(svg, "text", place, value.toFixed(1));
    }
    const name = (place, words) =>
      svgElement(svg, "text", { transform: place, "text-anchor": "middle" }, words);
    name(`translate(${(FRAME.left + FRAME.right) / 2} ${FRAME.bottom + 42})`,
      "accuracy: NDCG@10, mean over users, 0 to 1");
    name(`translate(13 ${(FRAME.top + FRAME.bottom) / 2}) rotate(-90)`,
      "diversity: α-nDCG@10, 0 to about 1");
  }

  at({ accuracy, diversity }) {
    return [this.x(accuracy), this.y(diversity)];
  }

  curve(svg, { name, marker, dash }) {
    const group = svgElement(svg, "g", { style: `--mark: var(--${name})` });
    const points = (steps) => steps.map((step) => this.at(this.recommender.point(name, step)));
    if (name !== "backbone") {
      const d = pathThrough(points(ticks(0, 100, 1)));
      svgElement(group, "path", { d, class: "curve", "stroke-dasharray": dash });
    }
    for (const [x, y] of points(name === "backbone" ? [0] : ticks(0, 100, 10))) {
      svgElement(group, "path", { d: markerPath(marker, x, y, 5), class: "spot" });
    }
    return group;
  }

  // Move the point; what it says of accuracy and of diversity is returned.
  show(method, step) {
    for (const [name, group] of this.groups) group.classList.toggle("chosen", name === method);
    const chosen = this.groups.get(method);
    chosen.parentNode.insertBefore(chosen, this.bars); // above the other curves
    const point = this.recommender.point(method, step);
    const [x, y] = this.at(point);
    const wide = this.x(1.96 * point.errors[0]) - this.x(0);
    const tall = this.y(0) - this.y(1.96 * point.errors[1]);
    this.bars.setAttribute("d", `M${x - wide},${y}H${x + wide}M${x},${y - tall}V${y + tall}`);
    this.here.setAttribute("cx", x);
    this.here.setAttribute("cy", y);
    const [accuracy, diversity] = point.errors.map((error) => (1.96 * error).toFixed(3));
    return [`NDCG@10 ${point.accuracy.toFixed(3)} ± ${accuracy}`,
      `α-nDCG@10 ${point.diversity.toFixed(3)} ± ${diversity}`];
  }
}
