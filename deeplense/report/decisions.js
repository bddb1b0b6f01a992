// What a threshold does: the histogram of the probabilities, the confusion matrix, and how far probabilities hold.

const BINS = 40, CALIBRATION_BINS = 15;

function showThreshold() {
  const slider = find("#slider"), exact = find("#exact"), reset = find("#reset");
  const own = threshold.own;
  reset.textContent = `back to ${exactly(own)}`;
  for (const span of document.querySelectorAll(".positive")) span.textContent = classes[1];
  const from = evidence.threshold_from;
  find("#threshold-from").textContent = `The run’s own is ${exactly(own)}${from ? ` (${from})` : ""}.`;
  slider.addEventListener("input", () => threshold.set(Number(slider.value)));
  exact.addEventListener("change", () => {
    const value = exact.valueAsNumber;
    threshold.set(value);
    if (!(value >= 0 && value <= 1)) exact.value = exactly(threshold.value);
  });
  reset.addEventListener("click", () => threshold.set(own));

  const update = () => {
    const value = threshold.value;
    slider.value = value;
    slider.setAttribute("aria-valuetext", exactly(value));
    if (document.activeElement !== exact || Number(exact.value) !== value) exact.value = exactly(value);
    reset.disabled = value === own;
    const positive = reaching(everything, value);
    if (labels === null) {
      find("#summary").textContent = `${whole(positive)} of ${whole(count)} taken for ${classes[1]}`;
      return;
    }
    const [[, alarms], [missed]] = confusion();
    find("#summary").textContent = `${whole(alarms + missed)} wrong: ${whole(alarms)} false alarms, ${whole(missed)} missed`;
  };
  threshold.followers.push(update);
  update();
}

function showConfusion() {
  const table = find("#confusion"), rates = find("#rates");
  const rated = (name, hits, trials, note) => [
    html("dt", {}, name),
    html("dd", {}, trials ? percent(hits / trials) : "undefined", html("small", {}, trials ? `${whole(hits)} of ${whole(trials)} · 95\u202f%: ${interval(hits, trials)}` : note)),
  ];

  const update = () => {
    const counted = confusion();
    const all = counted.map((row) => row.reduce((sum, number) => sum + number, 0));
    const right = counted.reduce((sum, row, label) => sum + row[label], 0);
    table.replaceChildren(
      html("caption", {}, two ? `At the threshold ${exactly(threshold.value)}` : "By the likeliest class"),
      html("thead", {},
        html("tr", {}, html("td"), html("th", { scope: "colgroup", colspan: classes.length }, "taken for")),
        html("tr", {}, html("th", { scope: "col", class: "corner" }, "true class"), ...classes.map((name) => html("th", { scope: "col" }, name)))),
      html("tbody", {}, ...counted.map((row, label) => html("tr", {}, html("th", { scope: "row" }, classes[label]), ...row.map((number, as) => {
        const share = all[label] ? number / all[label] : 0;
        return html("td", { class: label === as ? "right" : "wrong", "--share": share.toFixed(4) },
          html("b", {}, whole(number)), html("small", {}, all[label] ? percent(share) : "–"));
      })))),
    );
    const parts = rated("Accuracy", right, count, "");
    if (two) {
      const [[, alarms], [, hits]] = counted;
      parts.push(
        ...rated(`True-positive rate: ${classes[1]} found`, hits, all[1], `no images of ${classes[1]}`),
        ...rated(`False-positive rate: ${classes[0]} taken for ${classes[1]}`, alarms, all[0], `no images of ${classes[0]}`),
        ...rated(`Precision: share of those taken for ${classes[1]} that are`, hits, hits + alarms, "nothing is taken for it"),
      );
    } else {
      counted.forEach((row, label) => parts.push(...rated(`${classes[label]} found`, row[label], all[label], "no images")));
    }
    rates.replaceChildren(...parts);
  };
  threshold.followers.push(update);
  update();
}

function showHistogram() {
  const figure = find("#histogram"), plot = find(".plot", figure), choice = find("#shown-class"), logs = find("#log-counts");
  let shown = classes.length - 1;
  choice.append(...classes.map((name, label) => html("option", { value: label, selected: label === shown }, name)));
  // One group a true class, or one of all.
  const groups = labels === null ? [{ hue: "c5", name: "all images", rows: null }]
    : classes.map((name, label) => ({ hue: hue(label), name, rows: label })).filter(({ rows }) => labels.includes(rows));
  const binned = () => groups.map(({ rows }) => {
    const counted = new Array(BINS).fill(0), values = column(shown);
    for (let row = 0; row < count; row++) {
      if (rows !== null && labels[row] !== rows) continue;
      const bin = Math.min(Math.floor(values[row] * BINS), BINS - 1);
      if (bin >= 0) counted[bin]++;
    }
    return counted;
  });
  const edges = (bin) => `${(bin / BINS).toFixed(3)} to ${((bin + 1) / BINS).toFixed(3)}`;
  const mark = svg("g", { class: "mark" });
  let bins = binned(), x, bottom;

  const markThreshold = () => {
    if (!two || !x) return;
    const at = x(threshold.value), left = at > x(0.5);
    mark.replaceChildren(
      svg("line", { class: "threshold", x1: at, x2: at, y1: MARGIN.top - 4, y2: bottom }),
      svg("text", { x: at + (left ? -6 : 6), y: MARGIN.top + 8, "text-anchor": left ? "end" : "start" }, `threshold ${exactly(threshold.value)}`),
    );
  };

  const draw = (width, height) => {
    const most = Math.max(...bins.flat(), 1), low = logs.checked ? 0.7 : 0;
    const top = MARGIN.top + 14;
    bottom = height - MARGIN.bottom;
    x = linear([0, 1], [MARGIN.left, width - MARGIN.right]);
    const y = logs.checked ? logarithmic([low, most * 1.3], [bottom, top]) : linear([0, most * 1.05], [bottom, top]);
    const outline = (counted) => {
      let d = `M${x(0)},${bottom}`;
      counted.forEach((number, bin) => { d += `V${y(number).toFixed(2)}H${x((bin + 1) / BINS).toFixed(2)}`; });
      return `${d}V${bottom}`;
    };
    markThreshold();
    return [
      axes(width, height, x, y, UNIT_TICKS, logs.checked ? decades(1, most * 1.3) : counts(most), `probability of ${classes[shown]}`, "images a bin"),
      ...bins.map((counted, index) => svg("path", { class: `area ${groups[index].hue}`, d: `${outline(counted)}Z` })),
      ...bins.map((counted, index) => svg("path", { class: `curve ${groups[index].hue}`, d: outline(counted) })),
      mark,
    ];
  };
  const redraw = mount(plot, (width) => Math.min(Math.max(width * 0.55, 240), 330), draw,
    `Histogram of the probability of ${classes[shown]}; the counts are in the table below`);

  const describe = () => {
    const what = labels === null ? "" : " for each true class";
    find("figcaption", figure).textContent = `Histogram of the probability of ${classes[shown]}${what}, ${BINS} bins.${two ? " Drag to move the threshold." : ""}`;
    const rows = bins[0].map((_, bin) => [edges(bin), ...bins.map((counted) => whole(counted[bin]))]);
    find(".data .scroll", figure).replaceChildren(tableOf(`Images by their probability of ${classes[shown]}`, ["Probability", ...groups.map(({ name }) => name)], rows));
    find("#bin").textContent = " ";
  };
  find(".legend", figure).replaceChildren(...groups.map((group) => html("li", { class: group.hue }, group.name)));
  choice.addEventListener("change", () => { shown = Number(choice.value); bins = binned(); describe(); redraw(); });
  logs.addEventListener("change", redraw);
  plot.addEventListener("pointermove", (event) => {
    const value = x.back(place(event, plot)[0]);
    if (two && event.buttons & 1) threshold.set(Math.min(Math.max(value, 0), 1));
    if (value < 0 || value > 1) return;
    const bin = Math.min(Math.floor(value * BINS), BINS - 1);
    find("#bin").textContent = `${edges(bin)}: ${groups.map(({ name }, index) => `${whole(bins[index][bin])} ${name}`).join(", ")}`;
  });
  plot.addEventListener("pointerdown", (event) => {
    if (!two) return;
    plot.setPointerCapture(event.pointerId);
    threshold.set(Math.min(Math.max(x.back(place(event, plot)[0]), 0), 1));
  });
  plot.addEventListener("pointerleave", () => { find("#bin").textContent = " "; });
  describe();
  threshold.followers.push(markThreshold);
}

function showReliability() {
  const figure = find("#reliability"), plot = find(".plot", figure);
  const bins = Array.from({ length: CALIBRATION_BINS }, () => ({ trials: 0, hits: 0, promised: 0 }));
  for (let row = 0; row < count; row++) {
    const promised = two ? columns[0][row] : columns[likeliest[row]][row];
    const came = two ? labels[row] === 1 : labels[row] === likeliest[row];
    const bin = bins[Math.min(Math.floor(promised * CALIBRATION_BINS), CALIBRATION_BINS - 1)];
    bin.trials++;
    bin.hits += came;
    bin.promised += promised;
  }
  const what = two ? `probability of ${classes[1]}` : "probability of the likeliest class";
  const came = two ? `share that is ${classes[1]}` : "share that is right";
  const filled = bins.map((bin, index) => ({ ...bin, index })).filter(({ trials }) => trials);
  const range = ({ index }) => `${(index / CALIBRATION_BINS).toFixed(2)} to ${((index + 1) / CALIBRATION_BINS).toFixed(2)}`;
  const say = (bin) => `${range(bin)}: ${whole(bin.trials)} images, mean probability ${(bin.promised / bin.trials).toFixed(3)}, ${came} ${percent(bin.hits / bin.trials)} (95\u202f%: ${interval(bin.hits, bin.trials)})`;
  let x;
  mount(plot, (width) => Math.min(width * 0.9, 400), (width, height) => {
    x = linear([0, 1], [MARGIN.left, width - MARGIN.right]);
    const y = linear([0, 1], [height - MARGIN.bottom, MARGIN.top]);
    return [
      axes(width, height, x, y, UNIT_TICKS, UNIT_TICKS, what, came),
      svg("path", { class: "guess", d: path([[x(0), y(0)], [x(1), y(1)]]) }),
      svg("path", { class: "curve faint c0", d: path(filled.map(({ promised, trials, hits }) => [x(promised / trials), y(hits / trials)])) }),
      ...filled.map((bin) => {
        const [low, high] = wilson(bin.hits, bin.trials), at = x(bin.promised / bin.trials);
        return svg("g", { class: "point c0" },
          svg("path", { d: `M${at},${y(low)}V${y(high)}M${at - 3},${y(low)}h6M${at - 3},${y(high)}h6` }),
          svg("circle", { cx: at, cy: y(bin.hits / bin.trials), r: 3.5 }));
      }),
    ];
  }, "Reliability diagram; the bins are in the table beside it");
  find("figcaption", figure).textContent = `What was promised against what came true, in ${CALIBRATION_BINS} bins with 95\u202f% intervals. On the dotted line, probabilities mean what they say.`;
  plot.addEventListener("pointermove", (event) => {
    const value = x.back(place(event, plot)[0]);
    const nearest = filled.reduce((best, bin) => (Math.abs(bin.promised / bin.trials - value) < Math.abs(best.promised / best.trials - value) ? bin : best));
    find("#bucket").textContent = say(nearest);
  });
  plot.addEventListener("pointerleave", () => { find("#bucket").textContent = " "; });
  find("#bucket").textContent = " ";
  const rows = filled.map((bin) => [range(bin), whole(bin.trials), (bin.promised / bin.trials).toFixed(3), percent(bin.hits / bin.trials), interval(bin.hits, bin.trials)]);
  find("#calibration .data .scroll").replaceChildren(tableOf("Reliability", ["Bin", "Images", "Mean probability", two ? `Is ${classes[1]}` : "Is right", "95\u202f% interval"], rows));
}
