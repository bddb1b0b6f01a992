// The images: filtered, sorted, a page at a time, so that thousands cost no more than a few.

const PAGE = 48;

function showGallery() {
  const { rows, paths } = evidence.gallery;
  const list = find("#gallery");
  const controls = find("#controls");
  const form = controls.elements;
  const items = Array.from(paths.keys());
  const orders = galleryOrders(rows, paths);
  let shown = [];
  let page = 0;
  let active = 0;

  const option = (value, text) => html("option", { value }, text);
  form.sort.append(...Array.from(orders, ([name, [text]]) => option(name, text)));
  for (const select of [form.truth, form.taken]) {
    select.append(option("", "any"), ...classes.map((name, label) => option(label, name)));
  }
  form.odds.value = evidence.uncertain;

  function choose() {
    const factor = Math.log(Math.max(1, form.odds.valueAsNumber || evidence.uncertain));
    const kinds = {
      all: () => true,
      wrong: (item) => isWrong(rows[item]),
      uncertain: (item) => certainty(rows[item]) <= factor,
      right: (item) => !isWrong(rows[item]),
      foreign: (item) => isForeign(rows[item]),
    };
    const text = form.path.value.trim().toLowerCase();
    const { truth, taken: as } = form;
    const matches = (item) =>
      (truth.value === "" || labels[rows[item]] === Number(truth.value)) &&
      (as.value === "" || taken(rows[item]) === Number(as.value)) &&
      paths[item].toLowerCase().includes(text);
    const matching = items.filter(matches);
    for (const { value, parentElement } of form.show) {
      find("b", parentElement).textContent = whole(matching.filter(kinds[value]).length);
    }
    const [, key] = orders.get(form.sort.value);
    const keyed = matching.filter(kinds[form.show.value]).map((item) => [key(item), item]);
    shown = keyed.sort(([a, first], [b, second]) => a - b || first - second).map(([, item]) => item);
    find("#uncertain-hint").textContent = uncertainty(factor);
  }

  function tile(item, index) {
    const row = rows[item];
    const label = two ? 1 : taken(row);
    const own = chance(row, label);
    const wrong = isWrong(row);
    const as = classes[taken(row)];
    const unseen = (text) => html("span", { class: "unseen" }, text);
    const canvas = html("canvas", { "aria-hidden": "true" });
    paint(canvas, item);
    const button = html(
      "button",
      { type: "button", class: wrong ? "tile wrong" : "tile", "data-row": row, "--chance": own.toFixed(4) },
      canvas,
      html("span", { class: "meter" }),
      html("span", { class: "chance" }, roughly(own), unseen(` is the probability of ${classes[label]}; `)),
      html("span", { class: "verdict" }, wrong ? `✕ ${classes[labels[row]]} as ${as}` : as, unseen(`; ${paths[item]}`)),
    );
    button.title = paths[item];
    button.tabIndex = index === active ? 0 : -1;
    button.addEventListener("click", () => open(shown, page * PAGE + index));
    return html("li", {}, button);
  }

  function show() {
    const pages = Math.max(1, Math.ceil(shown.length / PAGE));
    page = Math.min(page, pages - 1);
    const here = shown.slice(page * PAGE, (page + 1) * PAGE);
    active = Math.max(0, Math.min(active, here.length - 1));
    list.replaceChildren(...here.map(tile));
    list.dataset.shade = form.shade.value;
    const [first, last] = [page * PAGE + 1, page * PAGE + here.length];
    const range = `${whole(first)} to ${whole(last)} of ${whole(shown.length)} images`;
    find("#count").textContent = here.length ? range : "No image is like that.";
    find("#previous").disabled = page === 0;
    find("#next").disabled = page >= pages - 1;
  }

  function turnTo(number, tileOfIt = 0) {
    page = number;
    active = tileOfIt;
    show();
  }

  function focus(index) {
    const tiles = list.querySelectorAll(".tile");
    if (!(index in tiles)) return;
    tiles[active].tabIndex = -1;
    active = index;
    tiles[active].tabIndex = 0;
    tiles[active].focus();
  }

  const open = imageDialog(form.shade, (index) => {
    turnTo(Math.floor(index / PAGE), index % PAGE);
    focus(active);
  });

  controls.addEventListener("input", () => {
    choose();
    turnTo(0);
  });
  controls.addEventListener("submit", (event) => event.preventDefault());
  find("#previous").addEventListener("click", () => turnTo(page - 1));
  find("#next").addEventListener("click", () => turnTo(page + 1));
  list.addEventListener("keydown", (event) => {
    const across = getComputedStyle(list).gridTemplateColumns.split(" ").length;
    const steps = { ArrowRight: 1, ArrowLeft: -1, ArrowDown: across, ArrowUp: -across };
    const ends = { Home: 0, End: list.children.length - 1 };
    const target = ends[event.key] ?? active + steps[event.key];
    if (Number.isNaN(target)) return;
    event.preventDefault();
    focus(target);
  });
  follow(() => {
    choose();
    show();
  });
}

// How images may be sorted: name -> what the reader is told, and a number for each, smallest first.
function galleryOrders(rows, paths) {
  const orders = new Map();
  if (labels !== null)
    orders.set("worst", ["the worst mistakes first", (item) => chance(rows[item], labels[rows[item]])]);
  if (familiarity !== null) orders.set("strange", ["the least familiar first", (item) => familiarity[rows[item]]]);
  orders.set("uncertain", ["the least certain first", (item) => certainty(rows[item])]);
  orders.set("certain", ["the most certain first", (item) => -certainty(rows[item])]);
  classes.forEach((name, label) => {
    if (two && label === 0) return; // the same the other way round
    orders.set(`high-${label}`, [`probability of ${name}, high to low`, (item) => -chance(rows[item], label)]);
    orders.set(`low-${label}`, [`probability of ${name}, low to high`, (item) => chance(rows[item], label)]);
  });
  const compare = (a, b) => (paths[a] < paths[b] ? -1 : Number(paths[a] > paths[b]));
  const rank = new Int32Array(paths.length);
  Array.from(paths.keys())
    .sort(compare)
    .forEach((item, index) => (rank[item] = index));
  return orders.set("path", ["path", (item) => rank[item]]);
}

// What counts as uncertain, for the logarithm of a factor in the odds.
function uncertainty(factor) {
  const times = Number(Math.exp(factor).toPrecision(3));
  if (!two) return `Uncertain: the likeliest class is at most ${times} times as likely as the next.`;
  const middle = logOdds(threshold.value);
  const [low, high] = [middle - factor, middle + factor].map((odds) => roughly(1 / (1 + Math.exp(-odds))));
  const range = `a probability of ${classes[1]} from ${low} to ${high}`;
  return `Uncertain: odds within a factor of ${times} of the threshold’s, which is ${range}.`;
}
