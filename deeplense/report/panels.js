// One panel of curves each: its axes, its lines, the mark on it, and which point is nearest to a pointer.

function rocPanel(curves) {
  const chance = [0, 1].map((rate) => [rate, rate]);
  return panelOf(curves, {
    id: "roc",
    title: "ROC curve",
    x: fpr,
    y: tpr,
    xTitle: "false-positive rate",
    yTitle: "true-positive rate",
    low: 0,
    xScale: (range) => linear([0, 1], range),
    xTicks: UNIT_TICKS,
    line: (curve) => curve.points,
    guesses: [{ points: chance }],
  });
}

function logRocPanel(curves) {
  // The axis begins below the least rate that is not 0.
  const smallest = 1 / Math.max(...curves.map((curve) => curve.negatives), 10);
  const power = 10 ** Math.floor(Math.log10(smallest));
  const least = [5, 2, 1].find((factor) => factor * power <= smallest * (1 + 1e-9)) * power;
  const chance = Array.from({ length: 201 }, (_, index) => least ** (1 - index / 200)).map((rate) => [rate, rate]);
  // The curve comes in from the left at the height that it has without any false alarm.
  const line = (curve) => curve.points.slice(curve.points.findLastIndex((point) => !point.alarms));
  return panelOf(curves, {
    id: "roc-log",
    title: "ROC curve, logarithmic",
    x: fpr,
    y: tpr,
    xTitle: "false-positive rate (log)",
    yTitle: "true-positive rate",
    low: lowest(curves, line, tpr),
    xScale: (range) => logarithmic([least, 1], range),
    xTicks: decades(least, 1),
    line,
    guesses: [{ points: chance }],
  });
}

function precisionPanel(curves) {
  // Precision bends between corners where hits or alarms alone grow: a few points between follow it.
  const parts = [1e-6, ...Array.from({ length: 16 }, (_, step) => (step + 1) / 16)];
  const between = (before, after) =>
    parts.map((part) => ({
      hits: before.hits + (after.hits - before.hits) * part,
      alarms: before.alarms + (after.alarms - before.alarms) * part,
    }));
  const line = (curve) => curve.points.slice(1).flatMap((after, index) => between(curve.points[index], after));
  const ofAll = (curve) => curve.positives / count;
  return panelOf(curves, {
    id: "precision",
    title: "Precision and recall",
    x: tpr,
    y: precision,
    xTitle: "recall",
    yTitle: "precision",
    low: lowest(curves, line, precision),
    xScale: (range) => linear([0, 1], range),
    xTicks: UNIT_TICKS,
    line,
    guesses: curves.map((curve) => ({
      points: [0, 1].map((recall) => [recall, ofAll(curve)]),
      kind: two ? "" : hue(curve.label),
    })),
  });
}

// Where curves stay high, the axis begins there, or nothing could be read off.
function lowest(curves, line, height) {
  const heights = curves.flatMap((curve) => line(curve).map((point) => height(curve, point)));
  return [0.99, 0.95, 0.9, 0.8, 0.5, 0].find((low) => heights.every((own) => own >= low));
}

function panelOf(curves, { id, title, x, y, xTitle, yTitle, low, xScale, xTicks, line, guesses }) {
  const plot = find(`#${id} .plot`);
  const marker = svg("g", { class: "mark" });
  let across, up;
  let marked = [null, null];

  const placeOf = (curve, point) => [across(x(curve, point)), up(Math.max(y(curve, point), low))];

  function mark(curve, point) {
    marked = [curve, point];
    marker.replaceChildren();
    if (!point || !across) return;
    const [left, top] = placeOf(curve, point);
    marker.append(
      svg("path", { d: `M${left},${MARGIN.top}V${up(low)}M${MARGIN.left},${top}H${across(1)}` }),
      svg("circle", { class: hue(curve.label), cx: left, cy: top, r: 5 }),
    );
  }

  function draw(width, height) {
    across = xScale([MARGIN.left, width - MARGIN.right]);
    up = linear([low, 1], [height - MARGIN.bottom, MARGIN.top]);
    mark(...marked);
    return [
      axes(width, height, across, up, xTicks, ticksFrom(low), xTitle, yTitle),
      ...guesses.map(({ points, kind = "" }) => {
        const visible = points.filter(([, value]) => value >= low);
        return svg("path", { class: `guess ${kind}`, d: path(visible.map(([a, b]) => [across(a), up(b)])) });
      }),
      ...curves.map((curve) => {
        const d = path(line(curve).map((point) => placeOf(curve, point)));
        return svg("path", { class: `curve ${hue(curve.label)}`, d });
      }),
      marker,
    ];
  }

  // The corner, of all curves, that is nearest to a place on the panel.
  function nearest(left, top) {
    let best = null;
    let least = Infinity;
    for (const curve of curves) {
      curve.points.forEach((point, index) => {
        const [a, b] = placeOf(curve, point);
        const distance = (a - left) ** 2 + (b - top) ** 2;
        if (distance < least) [best, least] = [[curve, index], distance];
      });
    }
    return best;
  }

  if (low) find(`#${id} figcaption`).append(` The vertical axis begins at ${low}.`);
  mount(plot, (width) => Math.min(width * 0.94, 330), draw, title);
  return { plot, title, mark, nearest };
}
