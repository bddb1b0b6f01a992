"use strict";
// What was measured, as numbers, and the one thing that the reader may change: the threshold.

const evidence = JSON.parse(document.getElementById("evidence").textContent);
const { classes, labels } = evidence;
const two = classes.length === 2;

// Of two classes only the probability of the second is there.
const columns = evidence.probabilities.map((column) => Float64Array.from(column, (chance) => chance ?? NaN));
const count = columns[0].length;

function chance(row, label) {
  if (!two) return columns[label][row];
  return label === 1 ? columns[0][row] : 1 - columns[0][row];
}

// The probability that decides: of the second of two classes, else of the class asked for.
const column = (label) => columns[two ? 0 : label];

const likeliest = two ? null : Int16Array.from({ length: count }, (_, row) => likeliestOf(row));

function likeliestOf(row) {
  let best = 0;
  for (let label = 1; label < classes.length; label++) if (columns[label][row] > columns[best][row]) best = label;
  return best;
}

const threshold = {
  own: evidence.threshold,
  value: evidence.threshold,
  followers: [],
  set(value) {
    if (!(value >= 0 && value <= 1) || value === this.value) return;
    this.value = value;
    // Many changes in one frame, as from a slider, are drawn once.
    if (!this.waiting) {
      this.waiting = true;
      requestAnimationFrame(() => {
        this.waiting = false;
        this.tell();
      });
    }
  },
  tell() {
    for (const follower of this.followers) follower();
  },
};

// Call `update` now, and whenever the threshold has moved.
function follow(update) {
  threshold.followers.push(update);
  update();
}

// Probabilities come with nine digits, so thresholds are given no more: who is on one in full digits, is on it here.
const nineDigits = (value) => Number(value.toPrecision(9));
const taken = (row) => (two ? Number(columns[0][row] >= nineDigits(threshold.value)) : likeliest[row]);
const isWrong = (row) => labels !== null && taken(row) !== labels[row];

const logOdds = (p) => {
  const inside = Math.min(Math.max(p, 1e-9), 1 - 1e-9);
  return Math.log(inside / (1 - inside));
};

// Logarithm of the factor in the odds that would change an image's label, at least 0.
function certainty(row) {
  if (two) return Math.abs(logOdds(columns[0][row]) - logOdds(threshold.value));
  let first = 1e-9;
  let second = 1e-9;
  for (const own of columns) {
    if (own[row] > first) [first, second] = [own[row], first];
    else if (own[row] > second) second = own[row];
  }
  return Math.log(first / second);
}

// Foreign images look like none that the run knows.
const familiarity = evidence.familiarity;
const isForeign = (row) => familiarity !== null && familiarity[row] < evidence.foreign;

// Sorted probabilities of the second class, of all images and of each true class, so that counting is a search.
const sorted = (rows) => Float64Array.from(rows, (row) => columns[0][row]).sort();
const everything = sorted(Array.from({ length: count }, (_, row) => row));
const byClass = labels === null ? null : classes.map(ofClass);

function ofClass(_, label) {
  const rows = [];
  for (let row = 0; row < count; row++) if (labels[row] === label) rows.push(row);
  return two ? sorted(rows) : rows;
}

// How many of `values`, ascending, reach `least`.
function reaching(values, least) {
  const limit = nineDigits(least);
  let low = 0;
  let high = values.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (values[middle] >= limit) high = middle;
    else low = middle + 1;
  }
  return values.length - low;
}

// Counts by true class (rows) and the class that images are taken for (columns).
function confusion() {
  if (two) {
    const positive = byClass.map((values) => reaching(values, threshold.value));
    return byClass.map((values, label) => [values.length - positive[label], positive[label]]);
  }
  return byClass.map((rows) => {
    const counts = classes.map(() => 0);
    for (const row of rows) counts[likeliest[row]]++;
    return counts;
  });
}

// Wilson's 95 % interval of a share.
function wilson(hits, trials) {
  if (!trials) return [0, 1];
  const z = 1.959963984540054;
  const share = hits / trials;
  const scale = 1 + (z * z) / trials;
  const middle = (share + (z * z) / (2 * trials)) / scale;
  const half = (z / scale) * Math.sqrt((share * (1 - share)) / trials + (z * z) / (4 * trials * trials));
  return [Math.max(0, middle - half), Math.min(1, middle + half)];
}

// Numbers as text.
const whole = (number) => number.toLocaleString("en-GB");
const percent = (share) => `${(100 * share).toFixed(2)}\u202f%`;
const interval = (hits, trials) => {
  const [low, high] = wilson(hits, trials);
  return `${(100 * low).toFixed(2)} to ${percent(high)}`;
};

// A probability: as many digits as tell it from 0 and from 1.
function exactly(p) {
  const edge = Math.min(p, 1 - p);
  const digits = edge > 0 ? Math.min(9, Math.max(4, 2 - Math.floor(Math.log10(edge)))) : 4;
  return p.toFixed(digits).replace(/(\.\d*?[1-9])0+$|\.0+$/, "$1");
}
const roughly = (p) => (p < 0.001 ? "< 0.001" : p > 0.999 ? "> 0.999" : p.toFixed(3));
