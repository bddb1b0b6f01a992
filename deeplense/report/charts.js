// What the charts have in common: elements, scales, axes, and being drawn again when their width changes.

const MARGIN = { left: 46, right: 12, top: 10, bottom: 40 };

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null || value === false) continue;
    if (name.startsWith("--")) node.style.setProperty(name, value);
    else node.setAttribute(name, value === true ? "" : value);
  }
  node.append(...children);
  return node;
}
const svg = (name, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
const html = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);
const find = (selector, within = document) => within.querySelector(selector);

function linear([low, high], [start, end]) {
  const scale = (value) => start + ((value - low) / (high - low)) * (end - start);
  scale.back = (place) => low + ((place - start) / (end - start)) * (high - low);
  return scale;
}

// Values below the lowest are drawn at the lowest.
function logarithmic([low, high], [start, end]) {
  const inner = linear([Math.log10(low), Math.log10(high)], [start, end]);
  return (value) => inner(Math.log10(Math.max(value, low)));
}

// Five steps from `low` to 1.
function ticksFrom(low) {
  const values = [0, 1, 2, 3, 4, 5].map((step) => low + ((1 - low) * step) / 5);
  return values.map((value) => [value, String(Number(value.toFixed(4)))]);
}
const UNIT_TICKS = ticksFrom(0);

function decades(low, high) {
  const ticks = [];
  for (let power = Math.ceil(Math.log10(low) - 1e-9); power <= Math.log10(high) + 1e-9; power++) {
    const value = 10 ** power;
    ticks.push([value, value >= 0.001 && value < 1e5 ? whole(value) : `10${superscript(power)}`]);
  }
  return ticks;
}
const superscript = (power) => [...String(power)].map((sign) => "⁰¹²³⁴⁵⁶⁷⁸⁹"[sign] ?? "⁻").join("");

// Round ticks from 0 to `high`, about four of them.
function counts(high) {
  const rough = high / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = Math.max(1, [1, 2, 5, 10].find((factor) => factor * power >= rough) * power);
  return Array.from({ length: Math.floor(high / step) + 1 }, (_, index) => [index * step, whole(index * step)]);
}

// Grid, ticks and titles of the axes.
function axes(width, height, x, y, xTicks, yTicks, xTitle, yTitle) {
  const right = width - MARGIN.right;
  const bottom = height - MARGIN.bottom;
  const middle = (MARGIN.top + bottom) / 2;
  const group = svg("g", { class: "axes" });
  for (const [value, text] of xTicks) {
    group.append(
      svg("line", { x1: x(value), x2: x(value), y1: MARGIN.top, y2: bottom }),
      svg("text", { x: x(value), y: bottom + 16, "text-anchor": "middle" }, text),
    );
  }
  for (const [value, text] of yTicks) {
    group.append(
      svg("line", { x1: MARGIN.left, x2: right, y1: y(value), y2: y(value) }),
      svg("text", { x: MARGIN.left - 7, y: y(value) + 4, "text-anchor": "end" }, text),
    );
  }
  group.append(
    svg("path", { class: "frame", d: `M${MARGIN.left},${MARGIN.top}V${bottom}H${right}` }),
    svg("text", { class: "title", x: (MARGIN.left + right) / 2, y: height - 5, "text-anchor": "middle" }, xTitle),
    svg("text", { class: "title", transform: `translate(11,${middle}) rotate(-90)`, "text-anchor": "middle" }, yTitle),
  );
  return group;
}

// Keep a chart as wide as its place: `draw(width)` gives the elements of an SVG of `height(width)`.
function mount(plot, height, draw, label) {
  let drawn = 0;
  const redraw = (width) => {
    drawn = width;
    const tall = Math.round(height(width));
    plot.replaceChildren(
      svg("svg", { viewBox: `0 0 ${width} ${tall}`, role: "img", "aria-label": label }, ...draw(width, tall)),
    );
  };
  new ResizeObserver(([entry]) => {
    const width = Math.round(entry.contentRect.width);
    if (width && width !== drawn) redraw(width);
  }).observe(plot);
  return () => {
    if (drawn) redraw(drawn);
  };
}

// Where a pointer is in the coordinates of the chart.
function place(event, plot) {
  const drawing = plot.firstElementChild;
  const box = drawing.getBoundingClientRect();
  const scale = drawing.viewBox.baseVal.width / box.width;
  return [(event.clientX - box.left) * scale, (event.clientY - box.top) * scale];
}

const path = (points) => points.map(([x, y], index) => `${index ? "L" : "M"}${x.toFixed(2)},${y.toFixed(2)}`).join("");
const hue = (label) => `c${label % 6}`;

function legend(list, entries) {
  list.replaceChildren(...entries.map(({ name, hue: kind }) => html("li", { class: kind }, name)));
}

const columnHeads = (names) => names.map((name) => html("th", { scope: "col" }, name));

function tableOf(caption, head, rows) {
  const line = ([first, ...rest]) =>
    html("tr", {}, html("th", { scope: "row" }, first), ...rest.map((cell) => html("td", {}, cell)));
  return html(
    "table",
    { class: "numbers" },
    html("caption", {}, caption),
    html("thead", {}, html("tr", {}, ...columnHeads(head))),
    html("tbody", {}, ...rows.map(line)),
  );
}
