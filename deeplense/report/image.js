// One image: taken from its sheet, and shown large.

// Sheets are decoded when an image of theirs is first looked at.
const sheets = new Map();

function sheet(number) {
  if (!sheets.has(number)) {
    const image = new Image();
    image.src = `data:image/jpeg;base64,${find(`#sheet-${number}`).textContent}`;
    const decoded = image.decode().then(() => image);
    sheets.set(number, decoded);
  }
  return sheets.get(number);
}

async function paint(canvas, item) {
  const { width, height, cell_width, cell_height, across, per_sheet } = evidence.gallery;
  Object.assign(canvas, { width, height });
  canvas.dataset.item = item;
  const image = await sheet(Math.floor(item / per_sheet));
  if (canvas.dataset.item !== String(item)) return; // it shows another one by now
  const cell = item % per_sheet;
  const left = (cell % across) * cell_width;
  const top = Math.floor(cell / across) * cell_height;
  canvas.getContext("2d").drawImage(image, left, top, width, height, 0, 0, width, height);
}

// Gives `open(items, index)`, which shows one of `items` and goes through them; `closed(index)` hears which was last.
function imageDialog(shade, closed) {
  const dialog = find("#one");
  const canvas = find("canvas", dialog);
  const { rows, paths } = evidence.gallery;
  let items = [];
  let index = 0;

  const fact = (name, value, kind = "") => [html("dt", {}, name), html("dd", { class: kind }, value)];

  function facts(row) {
    const wrong = isWrong(row);
    const truth = labels === null ? [] : fact("True class", classes[labels[row]]);
    const as = classes[taken(row)];
    const at = two ? fact("At the threshold", exactly(threshold.value)) : [];
    const known = isForeign(row) ? `${familiarity[row].toPrecision(3)} (foreign)` : familiarity?.[row].toPrecision(3);
    const like = familiarity === null ? [] : fact("Familiarity", known, isForeign(row) ? "wrong" : "");
    const place = fact("Row of predictions.csv", whole(row + 1));
    return [...truth, ...fact("Taken for", wrong ? `${as} (wrong)` : as, wrong ? "wrong" : ""), ...at, ...like, ...place];
  }

  function bar(row, label) {
    const own = chance(row, label);
    const meter = html("span", { class: `meter ${hue(label)}` });
    return html(
      "li",
      { "--chance": own.toFixed(4) },
      html("span", {}, classes[label]),
      html("b", {}, exactly(own)),
      meter,
    );
  }

  function show(number) {
    index = Math.min(Math.max(number, 0), items.length - 1);
    const item = items[index];
    const row = rows[item];
    canvas.dataset.shade = shade.value;
    paint(canvas, item);
    find("#one-title").textContent = paths[item];
    find("#one-facts").replaceChildren(...facts(row));
    find("#one-chances").replaceChildren(...classes.map((_, label) => bar(row, label)));
    find("#one-place").textContent = `${whole(index + 1)} of ${whole(items.length)}`;
    find("#before").disabled = index === 0;
    find("#after").disabled = index === items.length - 1;
  }

  find("#before").addEventListener("click", () => show(index - 1));
  find("#after").addEventListener("click", () => show(index + 1));
  find("#close").addEventListener("click", () => dialog.close());
  dialog.addEventListener("click", (event) => event.target === dialog && dialog.close());
  dialog.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (step) show(index + step);
  });
  dialog.addEventListener("close", () => closed(index));
  return (shown, number) => {
    items = shown;
    show(number);
    dialog.showModal();
  };
}
