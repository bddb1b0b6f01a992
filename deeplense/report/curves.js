// ROC and precision-recall curves: three panels over the same operating points, read together.

// All thresholds that matter for one class against the rest: the corners of its ROC curve, from (0, 0) to (1, 1).
function operatingPoints(label) {
  const scores = column(label);
  const order = Array.from({ length: count }, (_, row) => row).sort((a, b) => scores[b] - scores[a]);
  const points = [{ threshold: Infinity, hits: 0, alarms: 0 }];
  let hits = 0;
  let alarms = 0;
  order.forEach((row, index) => {
    if (labels[row] === label) hits++;
    else alarms++;
    // Images of one probability come together: no threshold lies between them.
    const next = scores[order[index + 1]];
    if (next !== scores[row]) points.push({ threshold: scores[row], hits, alarms });
  });
  const isCorner = (point, index) => {
    const before = points[index - 1];
    const after = points[index + 1];
    if (!before || !after) return true;
    const turn = (point.hits - before.hits) * (after.alarms - point.alarms);
    return turn !== (point.alarms - before.alarms) * (after.hits - point.hits);
  };
  return { label, points: points.filter(isCorner), positives: hits, negatives: alarms };
}

const tpr = (curve, point) => point.hits / curve.positives;
const fpr = (curve, point) => point.alarms / curve.negatives;
const precision = (curve, point) => (point.hits + point.alarms ? point.hits / (point.hits + point.alarms) : 1);

// A point of a curve in words.
function describe(curve, point) {
  const which = two ? "" : `${classes[curve.label]} against the rest · `;
  const at = point.threshold === Infinity ? "above all" : exactly(point.threshold);
  const rate = (name, hits, trials) =>
    `${name} ${percent(hits / trials)} (${whole(hits)} of ${whole(trials)}; 95\u202f%: ${interval(hits, trials)})`;
  const found = rate("TPR", point.hits, curve.positives);
  const alarms = rate("FPR", point.alarms, curve.negatives);
  return `${which}threshold ${at} · ${found} · ${alarms} · precision ${percent(precision(curve, point))}`;
}

function showCurves() {
  const curves = (two ? [1] : classes.map((_, label) => label)).map(operatingPoints);
  const panels = [rocPanel(curves), logRocPanel(curves), precisionPanel(curves)];
  // What the reader points at: a curve and a corner of it; null: the threshold of the page.
  let cursor = null;

  // The last corner that the threshold of the page reaches: where the keyboard starts from.
  function ofThreshold() {
    const [curve] = curves;
    if (!two) return { curve, index: 0 };
    const next = curve.points.findIndex((point) => point.threshold < nineDigits(threshold.value));
    return { curve, index: (next < 0 ? curve.points.length : next) - 1 };
  }

  // The point that is marked and read out; none of many curves until one is pointed at.
  function current() {
    if (cursor) return cursor.curve.points[cursor.index];
    if (!two) return null;
    const [alarms, hits] = byClass.map((values) => reaching(values, threshold.value));
    return { threshold: threshold.value, hits, alarms };
  }

  function update() {
    const { curve, index } = cursor ?? ofThreshold();
    const point = current();
    find("#point").textContent = point ? describe(curve, point) : "Point at a curve to read it.";
    for (const { plot, mark } of panels) {
      mark(curve, point);
      plot.setAttribute("aria-valuemax", curve.points.length - 1);
      plot.setAttribute("aria-valuenow", index);
      plot.setAttribute("aria-valuetext", describe(curve, point ?? curve.points[index]));
    }
  }

  function pointAt(curve, index) {
    cursor = { curve, index: Math.min(Math.max(index, 0), curve.points.length - 1) };
    update();
  }

  function release() {
    cursor = null;
    update();
  }

  function take() {
    if (two && cursor && cursor.index > 0) threshold.set(cursor.curve.points[cursor.index].threshold);
  }

  const steps = { ArrowRight: 1, ArrowLeft: -1, PageUp: 10, PageDown: -10, Home: -Infinity, End: Infinity };
  if (two) Object.assign(steps, { ArrowUp: 1, ArrowDown: -1 });

  function onKey(event) {
    const { curve, index } = cursor ?? ofThreshold();
    const another = (step) => curves[(curves.indexOf(curve) + step + curves.length) % curves.length];
    if (event.key in steps) pointAt(curve, index + steps[event.key]);
    else if (event.key === "ArrowUp") pointAt(another(-1), 0);
    else if (event.key === "ArrowDown") pointAt(another(1), 0);
    else if (event.key === "Enter") take();
    else if (event.key === "Escape") release();
    else return;
    event.preventDefault();
  }

  for (const { plot, title, nearest } of panels) {
    const role = { tabindex: 0, role: "slider", "aria-label": `${title}: operating point`, "aria-valuemin": 0 };
    fill(plot, role, []);
    const point = (event) => pointAt(...nearest(...place(event, plot)));
    plot.addEventListener("pointermove", point);
    plot.addEventListener("pointerdown", point);
    plot.addEventListener("click", (event) => {
      point(event);
      take();
    });
    plot.addEventListener("pointerleave", (event) => {
      if (event.pointerType === "mouse" && document.activeElement !== plot) release();
    });
    plot.addEventListener("keydown", onKey);
    plot.addEventListener("blur", release);
  }

  const entries = curves.map(({ label }) => ({ name: classes[label], hue: hue(label) }));
  legend(find("#ranking .legend"), entries);
  follow(update);
}
