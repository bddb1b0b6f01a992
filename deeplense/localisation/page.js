// Counts, curve and gallery at the probability that the reader asks for.

const numbers = JSON.parse(document.getElementById("numbers").textContent);
const find = (selector) => document.querySelector(selector);
const least = find("#least");
const COLOURS = ["#1b6ca8", "#d1495b", "#4f9d69", "#edae49", "#7d5ba6", "#5c6b73"];
const scored = numbers.probability !== undefined;

function fill(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  node.append(...children);
  return node;
}
const html = (name, attributes = {}, ...children) => fill(document.createElement(name), attributes, children);
const svg = (name, attributes = {}, ...children) =>
  fill(document.createElementNS("http://www.w3.org/2000/svg", name), attributes, children);
const percent = (share) => `${(100 * share).toFixed(1)} %`;

// Wilson's interval of 95 %.
function wilson(hits, trials) {
  const z = 1.959964, square = z * z;
  const middle = (hits + square / 2) / (trials + square);
  const half = (z * Math.sqrt((hits * (trials - hits)) / trials + square / 4)) / (trials + square);
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}

// What is found in each bin and what is false, of detections of at least that probability.
function counted(probability) {
  const found = numbers.subhalos.map(() => 0);
  let wrong = 0, wrongInSmooth = 0;
  numbers.probability.forEach((own, place) => {
    if (own < probability) return;
    if (numbers.bin[place] >= 0) found[numbers.bin[place]]++;
    else {
      wrong++;
      wrongInSmooth += numbers.in_smooth[place];
    }
  });
  return { found, wrong, wrongInSmooth };
}

function showCounts(probability) {
  const { found, wrong, wrongInSmooth } = counted(probability);
  const row = (name, hits, trials) => {
    const interval = trials ? wilson(hits, trials).map((end) => (100 * end).toFixed(1)).join(", ") : "";
    const cells = [name, trials, hits, trials ? `${percent(hits / trials)} [${interval}]` : "–"];
    return html("tr", {}, ...cells.map((cell) => html("td", {}, String(cell))));
  };
  const sum = (values) => values.reduce((all, own) => all + own, 0);
  const head = html("tr", {}, ...["log10 mass, Msun", "subhalos", "found", "share"].map((name) => html("th", {}, name)));
  const rows = found.map((hits, place) => {
    const name = `${numbers.edges[place]} to ${numbers.edges[place + 1]}`;
    return row(name, hits, numbers.subhalos[place]);
  });
  const all = sum(found);
  const right = all + wrong ? percent(all / (all + wrong)) : "–";
  const smooth = numbers.smooth ? (100 * wrongInSmooth / numbers.smooth).toFixed(2) : "–";
  const lines = [
    `${all + wrong} detections, of which ${right} are right`,
    `${wrong} false ones in ${numbers.count} images; ${smooth} in 100 smooth images`,
  ];
  find("#counts").replaceChildren(
    html("table", {}, head, ...rows, row("all", all, sum(numbers.subhalos))),
    ...lines.map((line) => html("p", {}, line)),
  );
}

const WIDTH = 460, HEIGHT = 300, LEFT = 44, BOTTOM = 262, TOP = 10, RIGHT = 450;
let curves = [];

function drawFroc() {
  const steps = Array.from({ length: 97 }, (_, step) => 0.02 + 0.01 * step);
  const points = steps.map((step) => ({ step, ...counted(step) }));
  const falses = points.map(({ wrong }) => wrong / numbers.count).filter((rate) => rate > 0);
  const low = Math.floor(Math.log10(Math.min(...falses, 0.1))), high = Math.ceil(Math.log10(Math.max(...falses, 0.1)));
  const x = (rate) => LEFT + ((Math.log10(Math.max(rate, 10 ** low)) - low) / Math.max(high - low, 1)) * (RIGHT - LEFT);
  const y = (share) => BOTTOM - share * (BOTTOM - TOP);
  const chart = find("#froc svg");
  chart.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
  chart.replaceChildren();
  for (let share = 0; share <= 1.001; share += 0.2) {
    chart.append(svg("path", { class: "grid", d: `M${LEFT},${y(share)}H${RIGHT}` }));
    chart.append(svg("text", { x: LEFT - 6, y: y(share) + 4, "text-anchor": "end" }, share.toFixed(1)));
  }
  for (let power = low; power <= high; power++) {
    chart.append(svg("text", { x: x(10 ** power), y: BOTTOM + 16, "text-anchor": "middle" }, String(Number((10 ** power).toPrecision(1)))));
  }
  chart.append(svg("text", { x: (LEFT + RIGHT) / 2, y: BOTTOM + 33, "text-anchor": "middle" }, "false detections an image"));
  chart.append(svg("path", { class: "axis", d: `M${LEFT},${TOP}V${BOTTOM}H${RIGHT}` }));
  curves = numbers.subhalos.map((trials, place) => {
    if (!trials) return null;
    const colour = COLOURS[place % COLOURS.length];
    const at = ({ found, wrong }) => [x(wrong / numbers.count), y(found[place] / trials)];
    const line = points.map((point) => at(point).map((value) => value.toFixed(1)).join(",")).join("L");
    const dot = svg("circle", { class: "dot", r: 5, fill: colour });
    const words = `10^${numbers.edges[place]}`;
    const [right, top] = at(points[0]);
    chart.append(svg("path", { class: "curve", d: `M${line}`, stroke: colour }), dot);
    chart.append(svg("text", { x: right - 4, y: top - 6, "text-anchor": "end" }, words));
    return { dot, at };
  });
}

function moveDots(probability) {
  const now = counted(probability);
  for (const curve of curves) {
    if (!curve) continue;
    const [x, y] = curve.at(now);
    curve.dot.setAttribute("cx", x);
    curve.dot.setAttribute("cy", y);
  }
}

function drawGallery() {
  const size = (mass) => numbers.half * 0.05 * 2 ** Math.max(Math.min(mass - 8.5, 2.5), -0.5);
  const length = (value) => `${value.toFixed(3)} ${numbers.unit}`;
  const figures = numbers.images.map((own) => {
    const box = [-numbers.half, -numbers.half, 2 * numbers.half, 2 * numbers.half].join(" ");
    const over = svg("svg", { viewBox: box });
    for (const [x, y, mass, snr] of own.true) {
      const words = `there: 10^${mass.toFixed(2)} Msun${snr === null ? "" : `, S/N ${snr.toFixed(1)}`}, at ${length(x)}, ${length(y)}`;
      over.append(svg("circle", { class: "true", cx: x, cy: y, r: size(mass), tabindex: 0, "data-words": words }));
    }
    for (const [x, y, mass, sigma, spread, probability] of own.found) {
      const words = `found: P ${probability.toFixed(2)}, 10^${mass.toFixed(2)} ± ${sigma.toFixed(2)} Msun, at ${length(x)}, ${length(y)} ± ${spread.toFixed(3)}`;
      const circle = { class: "found", cx: x, cy: y, r: 1.25 * size(mass), tabindex: 0, "data-words": words };
      over.append(svg("circle", { ...circle, "data-probability": probability, "stroke-opacity": 0.25 + 0.75 * probability }));
    }
    const picture = html(
      "div",
      { class: "picture" },
      html("img", { src: `data:image/png;base64,${own.image}`, alt: own.path }),
      html("img", { class: "density", src: `data:image/png;base64,${own.density}`, alt: "" }),
      over,
    );
    const caption = `${own.path}: ${own.why}; ${own.expected.toFixed(2)} expected`;
    return html("figure", {}, picture, html("figcaption", {}, caption));
  });
  find("#gallery").replaceChildren(...figures);
}

function show() {
  const probability = Number(least.value);
  find("#at").textContent = probability.toFixed(2);
  for (const circle of document.querySelectorAll("#gallery .found")) {
    circle.style.display = Number(circle.dataset.probability) >= probability ? "" : "none";
  }
  if (!scored) return;
  showCounts(probability);
  moveDots(probability);
}

drawGallery();
find("#asked").hidden = false;
if (scored) drawFroc();
else find("#asked .beside").remove();
least.addEventListener("input", show);
find("#density").addEventListener("change", (event) => document.body.classList.toggle("dense", event.target.checked));
find("#truth").addEventListener("change", (event) => document.body.classList.toggle("untold", !event.target.checked));
for (const kind of ["pointerover", "focusin"]) {
  find("#gallery").addEventListener(kind, (event) => {
    const words = event.target.dataset.words;
    if (words) find("#said").textContent = words;
  });
}
show();
