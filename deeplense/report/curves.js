// ROC and precision-recall curves: three panels over the same operating points, read together.

// All thresholds that matter for one class against the rest: the corners of its ROC curve, from (0, 0) to (1, 1).
function operatingPoints(label) {
  const scores = column(label), positive = two ? 1 : label;
  const order = Array.from({ length: count }, (_, row) => row).sort((a, b) => scores[b] - scores[a]);
  const points = [{ threshold: Infinity, hits: 0, alarms: 0 }];
  let hits = 0, alarms = 0;
  order.forEach((row, index) => {
    if (labels[row] === positive) hits++;
    else alarms++;
    // Images of one probability come together: no threshold lies between them.
    if (index + 1 === count || scores[order[index + 1]] !== scores[row]) points.push({ threshold: scores[row], hits, alarms });
  });
  const corners = points.filter((point, index) => {
    const before = points[index - 1], after = points[index + 1];
    return !before || !after ||
      (point.hits - before.hits) * (after.alarms - point.alarms) !== (point.alarms - before.alarms) * (after.hits - point.hits);
  });
  return { label, positive, points: corners, positives: hits, negatives: alarms };
}

function showCurves() {
  const curves = (two ? [1] : classes.map((_, label) => label)).map(operatingPoints);
  // The logarithmic axis begins below the least rate that is not 0.
  const smallest = 1 / Math.max(...curves.map((curve) => curve.negatives), 10), power = 10 ** Math.floor(Math.log10(smallest));
  const least = [5, 2, 1].find((factor) => factor * power <= smallest * (1 + 1e-9)) * power;
  // What the reader points at: a curve and a corner of it; null: the threshold of the page.
  let cursor = null;

  const rate = {
    tpr: (curve, point) => point.hits / curve.positives,
    fpr: (curve, point) => point.alarms / curve.negatives,
    precision: (curve, point) => (point.hits + point.alarms ? point.hits / (point.hits + point.alarms) : 1),
  };
  const panels = [
    { id: "roc", title: "ROC curve", x: rate.fpr, y: rate.tpr, xTitle: "false-positive rate", yTitle: "true-positive rate" },
    { id: "roc-log", title: "ROC curve, logarithmic", x: rate.fpr, y: rate.tpr, xTitle: "false-positive rate (log)", yTitle: "true-positive rate", log: true },
    { id: "precision", title: "Precision and recall", x: rate.tpr, y: rate.precision, xTitle: "recall", yTitle: "precision" },
  ];

  function current() {
    const curve = curves[0];
    return { threshold: threshold.value, hits: reaching(byClass[1], threshold.value), alarms: reaching(byClass[0], threshold.value), curve };
  }

  function marked() {
    if (cursor) return { ...cursor.curve.points[cursor.index], curve: cursor.curve };
    return two ? current() : null;
  }

  function say(point) {
    if (!point) return "Point at a curve to read it.";
    const { curve, hits, alarms } = point;
    const which = two ? "" : `${classes[curve.positive]} against the rest · `;
    const at = point.threshold === Infinity ? "threshold above all" : `threshold ${exactly(point.threshold)}`;
    return `${which}${at} · TPR ${percent(hits / curve.positives)} (${whole(hits)} of ${whole(curve.positives)}; 95\u202f%: ${interval(hits, curve.positives)})` +
      ` · FPR ${percent(alarms / curve.negatives)} (${whole(alarms)} of ${whole(curve.negatives)}; 95\u202f%: ${interval(alarms, curve.negatives)})` +
      ` · precision ${percent(rate.precision(curve, point))}`;
  }

  function update() {
    const point = marked();
    find("#point").textContent = say(point);
    for (const panel of panels) {
      panel.mark(point);
      const { plot } = panel;
      const { curve, index } = cursor ?? nearestToThreshold();
      plot.setAttribute("aria-valuemax", curve.points.length - 1);
      plot.setAttribute("aria-valuenow", index);
      plot.setAttribute("aria-valuetext", say(point ?? { ...curve.points[index], curve }));
    }
  }

  // The corner that the keyboard starts from.
  function nearestToThreshold() {
    const [curve] = curves;
    if (!two) return { curve, index: 0 };
    const next = curve.points.findIndex((point) => point.threshold < nineDigits(threshold.value));
    return { curve, index: (next < 0 ? curve.points.length : next) - 1 };
  }

  const point = (curve, index) => {
    cursor = { curve, index: Math.min(Math.max(index, 0), curve.points.length - 1) };
    update();
  };

  function take() {
    if (!two || !cursor) return;
    threshold.set(Math.min(1, cursor.curve.points[cursor.index].threshold));
  }

  function onKey(event) {
    const { curve, index } = cursor ?? nearestToThreshold();
    const other = (step) => curves[(curves.indexOf(curve) + step + curves.length) % curves.length];
    const along = { ArrowRight: 1, ArrowLeft: -1, PageUp: 10, PageDown: -10, Home: -Infinity, End: Infinity };
    if (two) Object.assign(along, { ArrowUp: 1, ArrowDown: -1 });
    if (event.key in along) point(curve, index + along[event.key]);
    else if (event.key === "ArrowUp") point(other(-1), 0);
    else if (event.key === "ArrowDown") point(other(1), 0);
    else if (event.key === "Enter") take();
    else if (event.key === "Escape") { cursor = null; update(); } else return;
    event.preventDefault();
  }

  for (const panel of panels) {
    const plot = panel.plot = find(`#${panel.id} .plot`);
    fill(plot, { tabindex: 0, role: "slider", "aria-label": `${panel.title}: operating point`, "aria-valuemin": 0 }, []);
    const mark = svg("g", { class: "mark" });
    let x, y;

    // Precision bends between corners where hits or alarms alone grow: a few points between follow it.
    const BETWEEN = [1e-6, ...Array.from({ length: 16 }, (_, step) => (step + 1) / 16)];
    const drawnPoints = (curve) => (panel.id !== "precision" ? curve.points : curve.points.slice(1).flatMap((after, index) => {
      const before = curve.points[index];
      return BETWEEN.map((part) => ({
        hits: before.hits + (after.hits - before.hits) * part,
        alarms: before.alarms + (after.alarms - before.alarms) * part,
      }));
    }));
    const visible = (curve) => {
      const drawn = drawnPoints(curve);
      // On a logarithmic axis the curve comes in from the left at the height that it has without any false alarm.
      const first = panel.log ? drawn.findLastIndex((own) => !own.alarms) : 0;
      return drawn.slice(first);
    };
    // Where the curve stays high, the axis begins there, or nothing could be read off.
    const heights = panel.id === "roc" ? [0] : curves.flatMap((curve) => visible(curve).map((own) => panel.y(curve, own)));
    const floor = [0.99, 0.95, 0.9, 0.8, 0.5, 0].find((height) => heights.every((own) => own >= height));
    if (floor) find(`#${panel.id} figcaption`).append(` The vertical axis begins at ${floor}.`);
    const placeOf = (curve, own) => [x(panel.x(curve, own)), y(panel.y(curve, own))];

    panel.mark = (own) => {
      mark.replaceChildren();
      if (!own || !x) return;
      const [left, top] = placeOf(own.curve, own);
      mark.append(
        svg("path", { d: `M${left},${MARGIN.top}V${y(floor)}M${MARGIN.left},${top}H${x(1)}` }),
        svg("circle", { class: hue(own.curve.positive), cx: left, cy: top, r: 5 }),
      );
    };

    mount(plot, (width) => Math.min(width * 0.94, 330), (width, height) => {
      x = (panel.log ? logarithmic([least, 1], [MARGIN.left, width - MARGIN.right]) : linear([0, 1], [MARGIN.left, width - MARGIN.right]));
      y = linear([floor, 1], [height - MARGIN.bottom, MARGIN.top]);
      const guesses = panel.id === "precision"
        ? curves.map((curve) => [[0, curve.positives / count], [1, curve.positives / count]])
        : [panel.log ? Array.from({ length: 201 }, (_, index) => [least ** (1 - index / 200), least ** (1 - index / 200)]) : [[0, 0], [1, 1]]];
      const elements = [
        axes(width, height, x, y, panel.log ? decades(least, 1) : UNIT_TICKS, ticksFrom(floor), panel.xTitle, panel.yTitle),
        ...guesses.map((line, index) => svg("path", { class: `guess ${panel.id === "precision" && !two ? hue(index) : ""}`, d: path(line.filter(([, b]) => b >= floor).map(([a, b]) => [x(a), y(b)])) })),
        ...curves.map((curve) => svg("path", { class: `curve ${hue(curve.positive)}`, d: path(visible(curve).map((own) => placeOf(curve, own))) })),
        mark,
      ];
      panel.mark(marked());
      return elements;
    }, panel.title);

    const follow = (event) => {
      const [left, top] = place(event, plot);
      let best = null, least2 = Infinity;
      for (const curve of curves) {
        curve.points.forEach((own, index) => {
          const [a, b] = placeOf(curve, own), distance = (a - left) ** 2 + (b - top) ** 2;
          if (distance < least2) [best, least2] = [{ curve, index }, distance];
        });
      }
      point(best.curve, best.index);
    };
    plot.addEventListener("pointermove", follow);
    plot.addEventListener("pointerdown", follow);
    plot.addEventListener("click", (event) => { follow(event); take(); });
    plot.addEventListener("pointerleave", (event) => { if (event.pointerType === "mouse" && document.activeElement !== plot) { cursor = null; update(); } });
    plot.addEventListener("keydown", onKey);
    plot.addEventListener("blur", () => { cursor = null; update(); });
  }

  for (const list of document.querySelectorAll("#ranking .legend")) legend(list, curves.map((curve) => curve.positive));
  threshold.followers.push(update);
  update();
}
