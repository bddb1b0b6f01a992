// Whether probabilities hold what they promise: of label 1 for two classes, else of the likeliest class.

const CALIBRATION_BINS = 15; // as metrics.py has them

function showReliability() {
  const figure = find("#reliability");
  const plot = find(".plot", figure);
  const readout = find("#bucket");
  const what = two ? `probability of ${classes[1]}` : "probability of the likeliest class";
  const came = two ? `share that is ${classes[1]}` : "share that is right";
  const bins = calibrationBins();
  const edge = (index) => (index / CALIBRATION_BINS).toFixed(2);
  const range = ({ index }) => `${edge(index)} to ${edge(index + 1)}`;
  let x;

  function draw(width, height) {
    x = linear([0, 1], [MARGIN.left, width - MARGIN.right]);
    const y = linear([0, 1], [height - MARGIN.bottom, MARGIN.top]);
    const diagonal = [0, 1].map((value) => [x(value), y(value)]);
    const line = bins.map(({ promised, hits, trials }) => [x(promised), y(hits / trials)]);
    const point = ({ promised, hits, trials }) => {
      const at = x(promised);
      const [bottom, top] = wilson(hits, trials).map(y);
      const whisker = `M${at},${bottom}V${top}M${at - 3},${bottom}h6M${at - 3},${top}h6`;
      const circle = svg("circle", { cx: at, cy: y(hits / trials), r: 3.5 });
      return svg("g", { class: "point c0" }, svg("path", { d: whisker }), circle);
    };
    return [
      axes(width, height, x, y, UNIT_TICKS, UNIT_TICKS, what, came),
      svg("path", { class: "guess", d: path(diagonal) }),
      svg("path", { class: "curve faint c0", d: path(line) }),
      ...bins.map(point),
    ];
  }

  mount(plot, (width) => Math.min(width * 0.9, 400), draw, "Reliability diagram; the bins are in the table beside it");
  plot.addEventListener("pointermove", (event) => {
    const value = x.back(place(event, plot)[0]);
    const gap = ({ promised }) => Math.abs(promised - value);
    const bin = bins.reduce((best, own) => (gap(own) < gap(best) ? own : best));
    const share = `${percent(bin.hits / bin.trials)} (95\u202f%: ${interval(bin.hits, bin.trials)})`;
    const images = `${whole(bin.trials)} images, mean probability ${bin.promised.toFixed(3)}`;
    readout.textContent = `${range(bin)}: ${images}, ${came} ${share}`;
  });
  plot.addEventListener("pointerleave", () => readout.replaceChildren());

  find("figcaption", figure).textContent =
    `What was promised against what came true, in ${CALIBRATION_BINS} bins with 95\u202f% intervals. ` +
    "On the dotted line, probabilities mean what they say.";
  const head = ["Bin", "Images", "Mean probability", two ? `Is ${classes[1]}` : "Is right", "95\u202f% interval"];
  const rows = bins.map((bin) => {
    const { promised, hits, trials } = bin;
    return [range(bin), whole(trials), promised.toFixed(3), percent(hits / trials), interval(hits, trials)];
  });
  find("#calibration .data .scroll").replaceChildren(tableOf("Reliability", head, rows));
}

// The bins that have images: how many, of how many it came true, and the mean of what was promised.
function calibrationBins() {
  const bins = Array.from({ length: CALIBRATION_BINS }, (_, index) => ({ index, trials: 0, hits: 0, sum: 0 }));
  for (let row = 0; row < count; row++) {
    const promised = two ? columns[0][row] : columns[likeliest[row]][row];
    const came = labels[row] === (two ? 1 : likeliest[row]);
    const bin = bins[Math.min(Math.floor(promised * CALIBRATION_BINS), CALIBRATION_BINS - 1)];
    bin.trials++;
    bin.hits += came;
    bin.sum += promised;
  }
  return bins.filter(({ trials }) => trials).map((bin) => ({ ...bin, promised: bin.sum / bin.trials }));
}
