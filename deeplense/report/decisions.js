// What a threshold does: its controls, the confusion matrix, and the histogram of the probabilities.

const BINS = 40;

function showThreshold() {
  const slider = find("#slider");
  const exact = find("#exact");
  const reset = find("#reset");
  const { own } = threshold;
  const from = evidence.threshold_from ? ` (${evidence.threshold_from})` : "";
  find("#positive").textContent = classes[1];
  find("#threshold-from").textContent = `The run’s own is ${exactly(own)}${from}.`;
  reset.textContent = `back to ${exactly(own)}`;

  slider.addEventListener("input", () => threshold.set(Number(slider.value)));
  exact.addEventListener("change", () => {
    const value = exact.valueAsNumber;
    threshold.set(value);
    if (!(value >= 0 && value <= 1)) exact.value = exactly(threshold.value);
  });
  reset.addEventListener("click", () => threshold.set(own));

  function summary() {
    if (labels === null)
      return `${whole(reaching(everything, threshold.value))} of ${whole(count)} taken for ${classes[1]}`;
    const [[, alarms], [missed]] = confusion();
    return `${whole(alarms + missed)} wrong: ${whole(alarms)} false alarms, ${whole(missed)} missed`;
  }

  follow(() => {
    const { value } = threshold;
    slider.value = value;
    slider.setAttribute("aria-valuetext", exactly(value));
    if (exact.valueAsNumber !== value) exact.value = exactly(value);
    reset.disabled = value === own;
    find("#summary").textContent = summary();
  });
}

function showConfusion() {
  const cell = (number, of, kind) => {
    const style = { class: kind, "--share": of ? (number / of).toFixed(4) : 0 };
    return html("td", style, html("b", {}, whole(number)), html("small", {}, of ? percent(number / of) : "–"));
  };

  const rate = (name, hits, trials, none) => {
    const counted = trials ? `${whole(hits)} of ${whole(trials)} · 95\u202f%: ${interval(hits, trials)}` : none;
    const value = trials ? percent(hits / trials) : "undefined";
    return [html("dt", {}, name), html("dd", {}, value, html("small", {}, counted))];
  };

  function rates(counted, totals) {
    const right = counted.reduce((sum, row, label) => sum + row[label], 0);
    const accuracy = rate("Accuracy", right, count, "");
    if (!two) {
      const found = (name, label) =>
        rate(`${name} found`, counted[label][label], totals[label], `no images of ${name}`);
      return [accuracy, ...classes.map(found)].flat();
    }
    const [[, alarms], [, hits]] = counted;
    const [none, some] = classes;
    return [
      accuracy,
      rate(`True-positive rate: ${some} found`, hits, totals[1], `no images of ${some}`),
      rate(`False-positive rate: ${none} taken for ${some}`, alarms, totals[0], `no images of ${none}`),
      rate(`Precision: share of those taken for ${some} that are`, hits, hits + alarms, "nothing is taken for it"),
    ].flat();
  }

  follow(() => {
    const counted = confusion();
    const totals = counted.map((row) => row.reduce((sum, number) => sum + number, 0));
    const caption = two ? `At the threshold ${exactly(threshold.value)}` : "By the likeliest class";
    const over = html("th", { scope: "colgroup", colspan: classes.length }, "taken for");
    const corner = html("th", { scope: "col", class: "corner" }, "true class");
    const body = counted.map((row, label) => {
      const cells = row.map((number, as) => cell(number, totals[label], label === as ? "right" : "wrong"));
      return html("tr", {}, html("th", { scope: "row" }, classes[label]), ...cells);
    });
    find("#confusion").replaceChildren(
      html("caption", {}, caption),
      html("thead", {}, html("tr", {}, html("td"), over), html("tr", {}, corner, ...columnHeads(classes))),
      html("tbody", {}, ...body),
    );
    find("#rates").replaceChildren(...rates(counted, totals));
  });
}

function showHistogram() {
  const figure = find("#histogram");
  const plot = find(".plot", figure);
  const choice = find("#shown-class");
  const logs = find("#log-counts");
  const readout = find("#bin");
  const mark = svg("g", { class: "mark" });
  // One group a true class, or one of all.
  const groupOf = (name, label) => ({ name, hue: hue(label), has: (row) => labels[row] === label });
  const groups =
    labels === null
      ? [{ name: "all images", hue: "c5", has: () => true }]
      : classes.map(groupOf).filter((_, label) => labels.includes(label));
  let shown = classes.length - 1;
  let bins = binned();
  let x, bottom;

  function binned() {
    const values = column(shown);
    const counted = groups.map(() => new Array(BINS).fill(0));
    for (let row = 0; row < count; row++) {
      const group = groups.findIndex(({ has }) => has(row));
      const bin = Math.min(Math.floor(values[row] * BINS), BINS - 1);
      if (bin >= 0) counted[group][bin]++;
    }
    return counted;
  }

  function markThreshold() {
    if (!two || !x) return;
    const at = x(threshold.value);
    const [side, anchor] = at > x(0.5) ? [-6, "end"] : [6, "start"];
    mark.replaceChildren(
      svg("line", { class: "threshold", x1: at, x2: at, y1: MARGIN.top - 4, y2: bottom }),
      svg("text", { x: at + side, y: MARGIN.top + 8, "text-anchor": anchor }, `threshold ${exactly(threshold.value)}`),
    );
  }

  function draw(width, height) {
    const most = Math.max(...bins.flat(), 1);
    const range = [height - MARGIN.bottom, MARGIN.top + 14];
    const y = logs.checked ? logarithmic([0.7, most * 1.3], range) : linear([0, most * 1.05], range);
    const yTicks = logs.checked ? decades(1, most * 1.3) : counts(most);
    [bottom] = range;
    x = linear([0, 1], [MARGIN.left, width - MARGIN.right]);
    const outline = (counted) => {
      const steps = counted.map((number, bin) => `V${y(number).toFixed(2)}H${x((bin + 1) / BINS).toFixed(2)}`);
      return `M${x(0)},${bottom}${steps.join("")}V${bottom}`;
    };
    const drawn = (kind) =>
      bins.map((own, group) => svg("path", { class: `${kind} ${groups[group].hue}`, d: outline(own) }));
    markThreshold();
    const xTitle = `probability of ${classes[shown]}`;
    return [
      axes(width, height, x, y, UNIT_TICKS, yTicks, xTitle, "images a bin"),
      ...drawn("area"),
      ...drawn("curve"),
      mark,
    ];
  }

  const edges = (bin) => `${(bin / BINS).toFixed(3)} to ${((bin + 1) / BINS).toFixed(3)}`;

  function caption() {
    const what = labels === null ? "" : " for each true class";
    const how = two ? " Drag to move the threshold." : "";
    find("figcaption", figure).textContent =
      `Histogram of the probability of ${classes[shown]}${what}, ${BINS} bins.${how}`;
    const rows = bins[0].map((_, bin) => [edges(bin), ...bins.map((own) => whole(own[bin]))]);
    const head = ["Probability", ...groups.map(({ name }) => name)];
    const table = tableOf(`Images by their probability of ${classes[shown]}`, head, rows);
    find(".data .scroll", figure).replaceChildren(table);
  }

  const label = "Histogram of the probabilities; the counts are in the table below";
  const redraw = mount(plot, (width) => Math.min(Math.max(width * 0.55, 240), 330), draw, label);
  const probabilityAt = (event) => x.back(place(event, plot)[0]);
  const move = (event) => two && threshold.set(Math.min(Math.max(probabilityAt(event), 0), 1));

  choice.append(...classes.map((name, own) => html("option", { value: own, selected: own === shown }, name)));
  choice.addEventListener("change", () => {
    shown = Number(choice.value);
    bins = binned();
    caption();
    redraw();
  });
  logs.addEventListener("change", redraw);
  plot.addEventListener("pointerdown", (event) => {
    plot.setPointerCapture(event.pointerId);
    move(event);
  });
  plot.addEventListener("pointermove", (event) => {
    if (event.buttons & 1) move(event);
    const bin = Math.min(Math.floor(probabilityAt(event) * BINS), BINS - 1);
    const inside = groups.map(({ name }, group) => `${whole(bins[group][bin] ?? 0)} ${name}`);
    readout.textContent = bin >= 0 ? `${edges(bin)}: ${inside.join(", ")}` : "";
  });
  plot.addEventListener("pointerleave", () => readout.replaceChildren());
  legend(find(".legend", figure), groups);
  caption();
  follow(markThreshold);
}
