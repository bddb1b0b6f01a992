"""Tables of the report, as HTML. Every name and number that comes from outside is escaped here."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from deeplense.report.evidence import Evidence
from deeplense.report.intervals import Interval
from deeplense.scores.metrics import CALIBRATION_BINS

NOT_THERE = "–"

SPOKEN = {
    "n": "images",
    "brier": "Brier score",
    "ece": "calibration error",
    "val roc auc": "validation ROC AUC",
    "lr": "learning rate",
    "tpr": "TPR",
    "fpr": "FPR",
    "probability std mean": "spread of the probability, mean",
    "probability std max": "spread of the probability, largest",
    "class changes": "images that change class",
    "class changes share": "share that changes class",
    "unfamiliar": "share of foreign images",
    "as many by chance p": "as many by chance, p",
    "as a set p": "as a set unlike validation, p",
}
"""Names that would not be understood with spaces for underscores."""


def table(caption: str, head: Sequence[str], rows: Iterable[Sequence[str]], kind: str = "") -> str:
    """A table whose first column names its rows. Cells are HTML already; empty without rows."""
    lines = [
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>' for first, *rest in rows
    ]
    if not lines:
        return ""
    top = "".join(f'<th scope="col">{cell}</th>' if cell else "<td></td>" for cell in head)
    heading = f"<thead><tr>{top}</tr></thead>" if head else ""
    return (
        f'<div class="scroll"><table class="{kind}">'
        f"<caption>{caption}</caption>{heading}<tbody>{''.join(lines)}</tbody></table></div>"
    )


def score_table(evidence: Evidence, intervals: Mapping[str, Interval]) -> str:
    """Every score of `metrics.json` with its interval and what it says."""
    metrics = evidence.metrics
    rows = []
    for name, title, meaning in _scores(evidence):
        if name not in metrics:
            continue
        rows.append([title, _score(metrics[name]), _interval(metrics, name, intervals.get(name)), meaning])
        if name == "roc_auc":
            rows += [
                [
                    f'<span class="under">{escape(own)} against the rest</span>',
                    _score(area["roc_auc"]),
                    _interval(area, "roc_auc", None),
                    "",
                ]
                for own, area in metrics.get("roc_auc_per_class", {}).items()
            ]
    at = f", at the run’s own threshold {evidence.threshold:.4g}" if evidence.threshold is not None else ""
    return table(
        f"Of all {len(evidence.paths):,} images{at}",
        ["Score", "Value", "95\u202f% interval", "What it says"],
        rows,
        "scores",
    )


def _scores(evidence: Evidence) -> list[tuple[str, str, str]]:
    """Key, title and meaning of what `metrics.json` holds."""
    two = len(evidence.classes) == 2
    positive = escape(evidence.classes[-1])
    mean = "" if two else ", mean over classes"
    rule = "at the threshold" if two else "by the likeliest class"
    ranks = (
        f"how often an image of {positive} ranks above one of {escape(evidence.classes[0])}"
        if two
        else "one class against the rest, mean over classes"
    )
    promised = f"the probability of {positive}" if two else "the likeliest class’s probability"
    return [
        ("roc_auc", "ROC AUC", f"{ranks}; interval of DeLong et al. 1988"),
        ("average_precision", "Average precision", f"area under precision against recall{mean}"),
        ("tpr_at_fpr_0.01", "TPR at FPR 1\u202f%", f"share found, with 1 false alarm in 100 admitted{mean}"),
        ("tpr_at_fpr_0.1", "TPR at FPR 10\u202f%", f"share found, with 1 false alarm in 10 admitted{mean}"),
        (
            "recall_at_precision_0.5",
            "Recall at precision 50\u202f%",
            f"share found, if half of what is called may be wrong{mean}",
        ),
        ("recall_at_precision_0.9", "Recall at precision 90\u202f%", f"share found, if 1 in 10 may be wrong{mean}"),
        ("accuracy", "Accuracy", f"share of images labelled rightly, {rule}"),
        ("balanced_accuracy", "Balanced accuracy", "mean of each class’s accuracy"),
        ("log_loss", "Log loss", "nats an image; 0 is perfect"),
        ("brier", "Brier score", "mean squared error of the probability; 0 is perfect"),
        (
            "ece",
            "Calibration error",
            f"mean gap between {promised} and what comes true, over {CALIBRATION_BINS} bins; no interval, since "
            "its estimate is biased upwards",
        ),
    ]


def _score(value: float | None) -> str:
    return "undefined" if value is None else f"{value:.5f}"


def _interval(scores: Mapping[str, Any], name: str, computed: Interval | None) -> str:
    if scores[name] is None:
        return NOT_THERE
    low, high = scores.get(f"{name}_low"), scores.get(f"{name}_high")
    if low is None or high is None:
        if computed is None:
            return NOT_THERE
        low, high = computed
    return f'<span class="range">{low:.5f} to {high:.5f}</span>'


def headline(evidence: Evidence, intervals: Mapping[str, Interval]) -> str:
    """The few numbers that are read first."""
    metrics = evidence.metrics
    foreign = _foreign(evidence)
    if evidence.labels is None:
        return _large(f"{len(evidence.paths):,}", "images", "without labels: probabilities and no scores") + foreign
    parts = []
    if metrics.get("roc_auc") is not None:
        mean = "" if len(evidence.classes) == 2 else ", mean over classes"
        low, high = metrics["roc_auc_low"], metrics["roc_auc_high"]
        parts.append(_large(f"{metrics['roc_auc']:.5f}", f"ROC AUC{mean}", f"95\u202f%: {low:.5f} to {high:.5f}"))
    low, high = intervals["accuracy"]
    parts.append(_large(percent(metrics["accuracy"]), "accuracy", f"95\u202f%: {_range(low, high)}"))
    parts.append(_large(f"{metrics['errors']:,}", "images wrong", f"of {metrics['n']:,}"))
    if metrics.get("tpr_at_fpr_0.01") is not None:
        value, (low, high) = metrics["tpr_at_fpr_0.01"], intervals["tpr_at_fpr_0.01"]
        parts.append(_large(percent(value), "found at FPR 1\u202f%", f"95\u202f%: {_range(low, high)}"))
    return "".join(parts) + foreign


def _foreign(evidence: Evidence) -> str:
    """The share of foreign images, where it is known."""
    about = evidence.metrics.get("familiarity")
    if not isinstance(about, dict):
        return ""
    interval = f"95\u202f%: {_range(about['unfamiliar_low'], about['unfamiliar_high'])}"
    return _large(percent(about["unfamiliar"]), "foreign images", interval)


def percent(share: float) -> str:
    """With a narrow space that does not break."""
    return f"{100 * share:.2f}\u202f%"


def _range(low: float, high: float) -> str:
    return f"{100 * low:.2f} to {percent(high)}"


def _large(number: str, name: str, note: str) -> str:
    """One large number."""
    return f"<div><dt>{escape(name)}</dt><dd><b>{number}</b><span>{escape(note)}</span></dd></div>"


def any_table(caption: str, content: Mapping[str, Any], seen: bool = False) -> str:
    """A table of numbers whose names this module does not know.

    Objects with the same keys stand side by side (`before` and `after`), a list of objects has a row each, all else is
    a row a number, `NAME_low` and `NAME_high` in that of `NAME`.

    Args:
        seen: whether the caption is shown, too; below a heading that says the same, only a reader of the page hears it.
    """
    kind = "numbers" if seen else "numbers headed"
    groups = {name: value for name, value in content.items() if isinstance(value, dict) and value}
    lists = {name: value for name, value in content.items() if _is_table(value)}
    rows = [
        [title_of(name), _with_bounds(name, content)]
        for name, value in content.items()
        if name not in lists and value is not None and tell(value) and not _is_bound(name, content)
    ]
    parts = [table(escape(caption), [], rows, kind)]
    keys = [tuple(group) for group in groups.values()]
    if len(groups) > 1 and len(set(keys)) == 1:
        side_by_side = [[title_of(key), *(tell(group[key]) for group in groups.values())] for key in keys[0]]
        parts.append(table(escape(caption), ["", *map(title_of, groups)], side_by_side, kind))
    else:
        parts += [any_table(_spoken(name), group, seen=True) for name, group in groups.items()]
    for name, value in lists.items():
        columns = list(value[0])
        lines = [[tell(item.get(column)) for column in columns] for item in value]
        parts.append(table(title_of(name), [*map(title_of, columns)], lines, "numbers"))
    return "".join(parts)


def _is_bound(name: str, content: Mapping[str, Any]) -> bool:
    return any(name.endswith(end) and name.removesuffix(end) in content for end in ("_low", "_high"))


def _with_bounds(name: str, content: Mapping[str, Any]) -> str:
    low, high = content.get(f"{name}_low"), content.get(f"{name}_high")
    if low is None or high is None:
        return tell(content[name])
    return f"{tell(content[name])} <small>95\u202f%: {tell(low)} to {tell(high)}</small>"


def _is_table(value: object) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(item, dict) and item for item in value)


def split_table(counts: Mapping[str, Mapping[str, int]]) -> str:
    """Images of each class in each part."""
    if not counts:
        return ""
    parts = list(next(iter(counts.values())))
    rows = [
        [escape(name), *(f"{of[part]:,}" for part in parts), f"{sum(of.values()):,}"] for name, of in counts.items()
    ]
    if len(rows) > 1:
        columns = [sum(of[part] for of in counts.values()) for part in parts]
        rows.append(["all", *(f"{number:,}" for number in columns), f"{sum(columns):,}"])
    names = {"train": "training", "val": "validation", "test": "test"}
    heading = ["Class", *(names.get(part, part) for part in parts), "all"]
    return table("Images of the run, by their part of the split", heading, rows, "numbers total")


def session_table(record: Mapping[str, Any]) -> str:
    """What ran, on what, from which code and data: the last session of `record.json`, and how many there were."""
    sessions = record.get("sessions") or [{}]
    last = {name: value for name, value in sessions[-1].items() if value is not None}
    if not last:
        return ""
    git, versions = last.pop("git", None) or {}, last.pop("versions", None) or {}
    commit = git.get("commit") or "not known"
    changed = ", with changes that were not committed" if git.get("diff_sha256") else ""
    rows = [["Command", f"<code>{escape(' '.join(map(str, last.pop('command', []))))}</code>"]]
    if len(sessions) > 1:
        rows.append(["Sessions", f"{len(sessions)}; what follows is of the last"])
    times = {name: str(last.pop(name)).replace("T", " ") for name in ("started", "ended") if name in last}
    rows += [[title_of(name), tell(value)] for name, value in (times | last).items()]
    rows.append(["Code", f"<code>{escape(commit)}</code>{changed}"])
    if git.get("diff_sha256"):
        rows.append(["Hash of the changes", f"<code>{escape(git['diff_sha256'])}</code>"])
    if record.get("data_sha256"):
        rows.append(["Hash of the images and labels", f"<code>{escape(record['data_sha256'])}</code>"])
    rows.append(["Versions", ", ".join(f"{escape(name)} {escape(str(own))}" for name, own in versions.items())])
    return table("The training run", [], rows, "record")


def settings_tables(config: Mapping[str, Any]) -> str:
    """All settings, a table a group."""
    single = {name: value for name, value in config.items() if not isinstance(value, dict)}
    groups = {"": single} | {name: value for name, value in config.items() if isinstance(value, dict)}
    return "".join(
        table(
            title_of(name) if name else "Start",
            [],
            [[title_of(key), tell(own)] for key, own in group.items()],
            "record",
        )
        for name, group in groups.items()
    )


def record_table(caption: str, content: Mapping[str, Any]) -> str:
    """A row for each plain fact."""
    rows = [[title_of(name), tell(value)] for name, value in content.items() if tell(value)]
    return table(escape(caption), [], rows, "record")


def title_of(name: str) -> str:
    """`log_loss` as it is spoken, as HTML."""
    return escape(_spoken(name))


def _spoken(name: str) -> str:
    spoken = name.replace("_", " ")
    if spoken.startswith("effective "):
        spoken = f"{spoken.removeprefix('effective ')}, in effect"
    spoken = SPOKEN.get(spoken, spoken.replace("roc auc", "ROC AUC"))
    return spoken[:1].upper() + spoken[1:]


def tell(value: object) -> str:
    """A plain value as HTML; empty for what is none (an object, a list of lists)."""
    if value is None:
        return NOT_THERE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return f"{value:.5g}"
    if isinstance(value, list) and not any(isinstance(item, dict | list) for item in value):
        return f'<span class="list">{", ".join(map(tell, value))}</span>'
    if isinstance(value, dict | list):
        return ""
    text = escape(str(value))
    return f'<span class="list">{text}</span>' if " " in text and len(text) > 40 else text
