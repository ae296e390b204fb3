// The page: what is chosen, and how it is shown.

const byId = (id) => document.getElementById(id);
const data = JSON.parse(byId("data").textContent);
const recommender = new Recommender(readTensors(fromBase64(byId("bundle").textContent)), data);
const methodOf = new Map(data.methods.map((method) => [method.name, method]));
const front = new Front(document.querySelector("#front svg"), recommender, data);
const objectives = data.about.generator.collection.objectives;
const dials = [...document.querySelectorAll(".weight input")]; // one for two objectives, or each
const total = data.dials[0].reduce((sum, part) => sum + part, 0); // of what the dials say
const chosen = { method: "generated", ...data.opening };
const backboneList = keepLast((user) => recommender.list(user, "backbone", 0).items);
const durations = []; // of the last changes, in milliseconds
let remembering; // the timer of `remember`
const calm = matchMedia("(prefers-reduced-motion: reduce)");

function element(name, className, text = "") {
  const made = document.createElement(name);
  made.className = className;
  made.textContent = text;
  return made;
}

// One line of a list.  `met`: the categories further up, to which this item's are added.
function row(item, rank, met, [move, kind]) {
  const line = element("li", kind);
  line.dataset.item = item;
  const title = element("span", "title", data.titles[item]);
  if (item === data.targets[chosen.user]) title.append(element("span", "star", " ★ came next"));
  const sets = element("span", "sets");
  data.sets[item].forEach((category, index) => {
    const kind = met.has(category) ? "span" : "b";
    sets.append(index ? " · " : "", element(kind, "", data.categories[category]));
    met.add(category);
  });
  line.append(element("span", "rank", rank + 1), title, element("span", "move", move), sets);
  return line;
}

// Say whose list a panel shows.
function name(panel, method) {
  const heading = panel.querySelector("h2");
  heading.style.setProperty("--mark", `var(--${method.name})`);
  heading.replaceChildren(keyOf(method), method.label);
  panel.querySelector(".about").textContent = method.about;
}

// Fill a list; `move(item, rank)` says in a word where an item came from or went to.
function fill(panel, items, move) {
  const list = panel.querySelector("ol"), met = new Set();
  list.replaceChildren(...items.map((item, rank) => row(item, rank, met, move(item, rank))));
  const cells = element("span", "cells");
  data.categories.forEach((category, index) => {
    cells.append(element("i", met.has(index) ? "has" : ""));
    cells.lastChild.title = category;
  });
  const count = `${met.size} of ${data.categories.length} categories`;
  panel.querySelector(".covered").replaceChildren(cells, count);
  return count;
}

// Where each line of a list stands, by item.
const places = (list) => new Map([...list.children].map((line) => [line.dataset.item, line.offsetTop]));

// Let each line move from where it was; a line that was not there fades in.
function slide(list, before) {
  const after = places(list);
  for (const line of list.children) {
    const from = before.get(line.dataset.item), to = after.get(line.dataset.item);
    if (from === to) continue;
    const start = from === undefined ? { opacity: 0 } : { transform: `translateY(${from - to}px)` };
    line.animate([start, {}], { duration: 180, easing: "ease-out" });
  }
}

function entered(item, rank, old) {
  const from = old.indexOf(item);
  if (from < 0) return ["new", "in"];
  if (from === rank) return ["", ""];
  return [from > rank ? `▲ ${from - rank}` : `▼ ${rank - from}`, ""];
}

function show() {
  const start = performance.now();
  const { user, method, step } = chosen, list = document.querySelector("#now ol");
  const before = calm.matches ? null : places(list); // read before anything is written
  const { items, adapter, order } = recommender.list(user, method, step);
  const old = backboneList(user);
  const words = fill(byId("now"), items, (item, rank) => entered(item, rank, old));
  fill(byId("before"), old, (item) =>
    items.includes(item) ? [`now ${items.indexOf(item) + 1}`, ""] : ["left", "out"]);
  const weights = recommender.weights(step).map((weight) => weight.toFixed(2));
  objectives.forEach((name, index) => byId(name).textContent = weights[index]);
  const said = objectives.map((name, index) => `${name} ${weights[index]}`).join(", ");
  for (const dial of dials) dial.setAttribute("aria-valuetext", said);
  byId("point").replaceChildren(...front.show(method, step).map((words) => element("span", "", words)));
  if (before?.size) slide(list, before);
  const fresh = items.filter((item) => !old.includes(item)).length;
  byId("summary").textContent = `${fresh} new, ${fresh} left; ${words}`;
  byId("time-adapter").textContent = method === "generated" ? adapter.toFixed(1) : "–";
  byId("time-order").textContent = order.toFixed(1);
  showTimes(performance.now() - start);
}

function showTimes(last) {
  durations.push(last);
  if (durations.length > 500) durations.shift();
  byId("time-all").textContent = last.toFixed(1);
  const sorted = [...durations].sort((a, b) => a - b);
  const most = sorted[Math.ceil(0.95 * sorted.length) - 1];
  byId("slow").textContent = durations.length === 1 ? "This was the first list; later ones are usually faster."
    : `Of ${durations.length} changes, 95\u00a0% took at most ${most.toFixed(1)}\u00a0ms.`;
}

function choose(change) {
  Object.assign(chosen, change);
  const watched = data.histories[chosen.user];
  const last = watched.slice(-5).reverse().map((item) => data.titles[item]).join(" · ");
  byId("history").textContent = `${watched.length} titles known, the latest: ${last}`;
  byId("user").value = chosen.user;
  dials.forEach((dial, index) => {
    dial.value = data.dials[chosen.step][index];
    dial.disabled = chosen.method === "backbone";
  });
  byId("weightless").hidden = chosen.method !== "backbone";
  if (change.method) {
    document.documentElement.style.setProperty("--own", `var(--${change.method})`);
    document.querySelector(`#methods input[value=${change.method}]`).checked = true;
    name(byId("now"), methodOf.get(change.method));
  }
  show();
  clearTimeout(remembering); // not while one drags: browsers limit how often the address changes
  remembering = setTimeout(remember, 200);
}

// Let the address hold what is chosen, so that a copy of it shows the same.
function remember() {
  const { user, method, step } = chosen, weights = recommender.weights(step).slice(0, -1);
  const said = weights.map((weight, index) => `&${objectives[index]}=${+weight.toFixed(2)}`).join("");
  history.replaceState(null, "", `#user=${data.users[user]}&method=${method}${said}`);
}

function fillControls() {
  const users = data.users.map((name, user) => [user, name]);
  users.sort((a, b) => a[1].localeCompare(b[1], "en", { numeric: true }));
  byId("user").append(...users.map(([user, name]) => new Option(name, user)));
  for (const method of data.methods) {
    const label = element("label", "", method.label);
    label.style.setProperty("--mark", `var(--${method.name})`);
    const input = element("input", "");
    Object.assign(input, { type: "radio", name: "method", value: method.name });
    input.addEventListener("change", () => choose({ method: method.name }));
    label.prepend(input, keyOf(method));
    byId("methods").append(label);
  }
  dials.forEach((dial, index) => dial.addEventListener("input", () => {
    const others = wished.map((part, at) => (at === index ? 0 : part));
    const sum = others.reduce((all, part) => all + part, 0), left = total - Number(dial.value);
    const parts = others.map((part) => (left * (sum ? part : 1)) / (sum || others.length - 1));
    parts[index] = Number(dial.value);
    wished[index] = parts[index];
    choose({ step: nearest(parts) });
  }));
  byId("user").addEventListener("change", (event) => choose({ user: Number(event.target.value) }));
  byId("another").addEventListener("click", () =>
    choose({ user: Math.floor(Math.random() * data.users.length) }));
}

// An address may say what to show: #user=196&method=xquad&accuracy=0.3
function fromAddress() {
  const asked = new URLSearchParams(location.hash.slice(1)), change = {};
  if (data.users.includes(asked.get("user"))) change.user = data.users.indexOf(asked.get("user"));
  if (methodOf.has(asked.get("method"))) change.method = asked.get("method");
  const parts = objectives.slice(0, -1).map((name) => Math.round(total * (asked.get(name) ?? NaN)));
  const step = data.dials.findIndex((row) => parts.every((part, index) => part === row[index]));
  if (step >= 0) change.step = step;
  return change;
}

// What the dials were set to: if one moves, the others share the rest as they were set.
const wished = [...data.dials[chosen.step]];

// The row of the dials that is nearest to these parts.
function nearest(parts) {
  const far = data.dials.map((row) => row.reduce((sum, part, at) => sum + (part - parts[at]) ** 2, 0));
  return far.indexOf(Math.min(...far));
}

fillControls();
name(byId("before"), methodOf.get("backbone"));
choose({ method: chosen.method, ...fromAddress() });
addEventListener("hashchange", () => choose(fromAddress()));
// For tests, and for whoever opens the console.
window.paragon = { recommender, durations, ready: performance.now() };
