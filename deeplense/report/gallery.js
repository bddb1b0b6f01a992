// The images: filtered, sorted, a page at a time, so that thousands cost no more than a few.

const PAGE = 48;

function showGallery() {
  const { rows, paths, width, height, cell_width, cell_height } = evidence.gallery;
  const list = find("#gallery"), controls = find("#controls"), dialog = find("#one");
  const form = controls.elements;
  const columnsOf = 16, perSheet = 256; // as gallery.py packs them
  let shown = [], page = 0, active = 0;

  // Sheets are decoded when an image of theirs is first looked at.
  const sheets = new Map();
  function sheet(number) {
    if (!sheets.has(number)) {
      const image = new Image();
      image.src = `data:image/jpeg;base64,${find(`#sheet-${number}`).textContent}`;
      sheets.set(number, image.decode().then(() => image));
    }
    return sheets.get(number);
  }
  async function paint(canvas, item) {
    canvas.width = width;
    canvas.height = height;
    canvas.dataset.item = item;
    const cell = item % perSheet, image = await sheet(Math.floor(item / perSheet));
    if (canvas.dataset.item !== String(item)) return; // it shows another image by now
    canvas.getContext("2d").drawImage(image, cell % columnsOf * cell_width, Math.floor(cell / columnsOf) * cell_height, width, height, 0, 0, width, height);
  }

  // Orders, by name: a number for each item, smallest first.
  const trueChance = (item) => chance(rows[item], labels[rows[item]]);
  const orders = new Map();
  if (labels !== null) orders.set("worst", ["the worst mistakes first", trueChance]);
  orders.set("uncertain", ["the least certain first", (item) => certainty(rows[item])]);
  orders.set("certain", ["the most certain first", (item) => -certainty(rows[item])]);
  (two ? [1] : classes.map((_, label) => label)).forEach((label) => {
    orders.set(`high-${label}`, [`probability of ${classes[label]}, high to low`, (item) => -chance(rows[item], label)]);
    orders.set(`low-${label}`, [`probability of ${classes[label]}, low to high`, (item) => chance(rows[item], label)]);
  });
  const byPath = Array.from(paths.keys()).sort((a, b) => (paths[a] < paths[b] ? -1 : paths[a] > paths[b] ? 1 : rows[a] - rows[b]));
  const rank = new Int32Array(paths.length);
  byPath.forEach((item, index) => { rank[item] = index; });
  orders.set("path", ["path", (item) => rank[item]]);

  const option = (value, text) => html("option", { value }, text);
  form.sort.append(...Array.from(orders, ([name, [text]]) => option(name, text)));
  for (const select of [form.truth, form.taken]) select.append(option("", "any"), ...classes.map((name, label) => option(label, name)));
  form.odds.value = evidence.uncertain;

  function choose() {
    const factor = Math.log(Math.max(1, form.odds.valueAsNumber || evidence.uncertain));
    const kinds = {
      all: () => true,
      wrong: (item) => isWrong(rows[item]),
      uncertain: (item) => certainty(rows[item]) <= factor,
      right: (item) => !isWrong(rows[item]),
    };
    const wanted = form.path.value.trim().toLowerCase();
    const others = Array.from(paths.keys()).filter((item) =>
      (form.truth.value === "" || labels === null || labels[rows[item]] === Number(form.truth.value)) &&
      (form.taken.value === "" || taken(rows[item]) === Number(form.taken.value)) &&
      (!wanted || paths[item].toLowerCase().includes(wanted)));
    for (const radio of form.show) find("b", radio.parentElement).textContent = whole(others.filter(kinds[radio.value]).length);
    const [, key] = orders.get(form.sort.value);
    const keys = new Map();
    shown = others.filter(kinds[form.show.value]);
    for (const item of shown) keys.set(item, key(item));
    shown.sort((a, b) => keys.get(a) - keys.get(b) || rank[a] - rank[b]);
    explain(factor);
  }

  function explain(factor) {
    const times = exactly(Math.exp(factor)).replace(/^(\d+\.\d\d)\d*$/, "$1");
    const odds = logOdds(threshold.value ?? 0.5), p = (own) => roughly(1 / (1 + Math.exp(-own)));
    find("#uncertain-hint").textContent = two
      ? `Uncertain: odds within a factor of ${times} of the threshold’s, which is a probability of ${classes[1]} from ${p(odds - factor)} to ${p(odds + factor)}.`
      : `Uncertain: the likeliest class is at most ${times} times as likely as the next.`;
  }

  const verdict = (item) => {
    const row = rows[item], as = classes[taken(row)];
    const wrong = isWrong(row);
    return { text: wrong ? `✕ ${classes[labels[row]]} as ${as}` : as, wrong };
  };
  const shownLabel = (item) => (two ? 1 : taken(rows[item]));

  function tile(item, index) {
    const canvas = html("canvas", { "aria-hidden": "true" });
    const label = shownLabel(item), own = chance(rows[item], label), { text, wrong } = verdict(item);
    paint(canvas, item);
    const button = html("button", {
      type: "button", class: `tile${wrong ? " wrong" : ""}`, tabindex: index === active ? 0 : -1, "data-row": rows[item],
      title: paths[item], "--chance": own.toFixed(4),
    }, canvas, html("span", { class: "meter" }),
    html("span", { class: "chance" }, roughly(own), html("span", { class: "unseen" }, ` is the probability of ${classes[label]}; `)),
    html("span", { class: "verdict" }, text, html("span", { class: "unseen" }, `; ${paths[item]}`)));
    button.addEventListener("click", () => open(page * PAGE + index));
    return html("li", {}, button);
  }

  function show() {
    const pages = Math.max(1, Math.ceil(shown.length / PAGE));
    page = Math.min(page, pages - 1);
    const here = shown.slice(page * PAGE, (page + 1) * PAGE);
    active = Math.max(0, Math.min(active, here.length - 1));
    list.replaceChildren(...here.map(tile));
    const first = page * PAGE + 1;
    find("#count").textContent = here.length ? `${whole(first)} to ${whole(first + here.length - 1)} of ${whole(shown.length)} images` : "No image is like that.";
    find("#previous").disabled = page === 0;
    find("#next").disabled = page >= pages - 1;
    list.dataset.shade = form.shade.value;
  }

  const refresh = () => { choose(); show(); };
  const again = () => { page = 0; active = 0; refresh(); };
  controls.addEventListener("input", again);
  controls.addEventListener("submit", (event) => event.preventDefault());
  find("#previous").addEventListener("click", () => { page--; active = 0; show(); });
  find("#next").addEventListener("click", () => { page++; active = 0; show(); });

  const tiles = () => list.querySelectorAll(".tile");
  list.addEventListener("keydown", (event) => {
    const across = getComputedStyle(list).gridTemplateColumns.split(" ").length, last = tiles().length - 1;
    const target = { ArrowRight: active + 1, ArrowLeft: active - 1, ArrowDown: active + across, ArrowUp: active - across, Home: 0, End: last }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    if (target < 0 || target > last) return;
    tiles()[active].tabIndex = -1;
    active = target;
    tiles()[active].tabIndex = 0;
    tiles()[active].focus();
  });

  // One image, large.
  let opened = 0;
  function open(index) {
    opened = Math.min(Math.max(index, 0), shown.length - 1);
    const item = shown[opened], row = rows[item], { wrong } = verdict(item);
    const fact = (name, value, kind = "") => [html("dt", {}, name), html("dd", { class: kind }, value)];
    find("#one-title").textContent = paths[item];
    find("#one-facts").replaceChildren(
      ...(labels === null ? [] : fact("True class", classes[labels[row]])),
      ...fact("Taken for", `${classes[taken(row)]}${wrong ? " (wrong)" : ""}`, wrong ? "wrong" : ""),
      ...(two ? fact("At the threshold", exactly(threshold.value)) : []),
      ...fact("Row of predictions.csv", whole(row + 1)),
    );
    find("#one-chances").replaceChildren(...classes.map((name, label) => html("li", { "--chance": chance(row, label).toFixed(4) },
      html("span", {}, name), html("b", {}, exactly(chance(row, label))), html("span", { class: `meter ${hue(label)}` }))));
    find("#one-place").textContent = `${whole(opened + 1)} of ${whole(shown.length)}`;
    find("#before").disabled = opened === 0;
    find("#after").disabled = opened === shown.length - 1;
    const canvas = find("canvas", dialog);
    canvas.dataset.shade = form.shade.value;
    paint(canvas, item);
    dialog.dataset.row = row;
    if (!dialog.open) dialog.showModal();
  }
  find("#before").addEventListener("click", () => open(opened - 1));
  find("#after").addEventListener("click", () => open(opened + 1));
  find("#close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) { event.preventDefault(); open(opened + step); }
  });
  dialog.addEventListener("close", () => {
    page = Math.floor(opened / PAGE);
    active = opened % PAGE;
    show();
    tiles()[active]?.focus();
  });

  threshold.followers.push(refresh);
  refresh();
}
