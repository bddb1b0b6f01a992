"""Scores of a localiser in words: a few lines on the terminal, and tables of the report."""

from __future__ import annotations

from typing import Any


def say(scores: dict[str, Any]) -> str:
    """The scores in a few lines."""
    lines = []
    if scores["roc_auc"] is not None:
        ends = f"[{scores['roc_auc_low']:.4f}, {scores['roc_auc_high']:.4f}]"
        counts = f"{scores['subhalos']} subhalos in {scores['n']} images"
        lines.append(f"any subhalo: ROC AUC {scores['roc_auc']:.4f} {ends}; {counts}")
    limits = {row["from"]: row for row in scores.get("limit", {}).get("by_mass", [])}
    network = {row["from"]: row for row in scores.get("network_alone", {}).get("by_mass", [])}
    for row in scores["by_mass"]:
        parts = []
        for rate, words in (("fpr_0.01", "1 %"), ("fpr_0.1", "10 %")):
            own = row[rate]
            limit = limits.get(row["from"])
            best = "" if limit is None else f", limit {percent(limit[rate]['limit']['rate'])}"
            if network:
                best = f", network alone {percent(network[row['from']][rate]['found']['rate'])}{best}"
            found, placed = (percent(own[what]["rate"]) for what in ("found", "placed"))
            parts.append(f"{found} found and {placed} placed at FPR {words}{best}")
        lines.append(f"10^{row['from']:g} to 10^{row['to']:g} Msun: {'; '.join(parts)}")
    false = scores["false_detections"]["per_100_smooth"]
    if false is not None:
        ends = f"[{false['low']:.2f}, {false['high']:.2f}]"
        lines.append(f"false detections of probability 0.5: {false['rate']:.2f} {ends} in 100 smooth images")
    position, mass = scores["position"], scores["mass"]
    if position["median"] is not None:
        pulls, heavy = position["pulls"], position["median_above_9.5"]
        above = "" if heavy is None else f" ({heavy['value']:.3g} above 10^9.5 Msun)"
        lines.append(
            f"position: median error {position['median']['value']:.3g} {scores['length_unit']}{above}, "
            f"{percent(pulls['within_1_sigma']['rate'])} within one sigma; "
            f"mass: bias {mass['bias']['value']:+.3f} dex, scatter {mass['scatter']:.3f}, "
            f"{percent(mass['pulls']['within_1_sigma']['rate'])} within one sigma"
        )
    total = scores["calibration"]["expected_numbers"][0]
    if total["ratio"] is not None:
        lines.append(
            f"expected numbers sum to {total['ratio']:.3f} [{total['low']:.3f}, {total['high']:.3f}] of what is there"
        )
    return "\n".join(lines)


def say_fits(fits: dict[str, Any]) -> str:
    """How well smooth lenses fit the images, in a line."""
    told = (
        f"smooth lenses fit {percent(fits['fine']['share'])} of the images to a reduced chi^2 below "
        f"{fits['fine']['below']:g} (median {fits['reduced_chi2']['median']:.3f})"
    )
    return told if fits["used"] else f"{told}; the images are not of the run's set, so what is found is the network's"


def percent(share: float) -> str:
    return f"{100 * share:.0f} %"


def with_interval(rate: dict[str, Any] | None) -> str:
    """A share with its interval, in per cent."""
    if rate is None:
        return "–"
    return f"{100 * rate['rate']:.1f} [{100 * rate['low']:.1f}, {100 * rate['high']:.1f}]"


def mass_table(scores: dict[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Head and rows of the table by mass, with the limit where it is known."""
    limits = {row["from"]: row for row in scores.get("limit", {}).get("by_mass", [])}
    network = {row["from"]: row for row in scores.get("network_alone", {}).get("by_mass", [])}
    head = ["log10 mass, Msun", "images"]
    for words in ("1 %", "10 %"):
        head += [f"found at FPR {words}, %", "and placed, %", "placed by chance, %"]
        head += (["network alone, %"] if network else []) + (["limit, %"] if limits else [])
    rows = []
    for row in scores["by_mass"]:
        cells = [f"{row['from']:g} to {row['to']:g}", str(row["n"])]
        for rate in ("fpr_0.01", "fpr_0.1"):
            own = row[rate]
            cells += [with_interval(own["found"]), with_interval(own["placed"]), f"{100 * own['placed_by_chance']:.1f}"]
            if network:
                cells.append(with_interval(network[row["from"]][rate]["found"]))
            if limits:
                limit = limits.get(row["from"])
                cells.append("–" if limit is None else with_interval(limit[rate]["limit"]))
        rows.append(cells)
    return head, rows


def score_rows(scores: dict[str, Any]) -> list[list[str]]:
    """Name and value of what stands in no table."""
    rows = [["images", str(scores["n"])], ["subhalos in view", str(scores["subhalos"])]]
    if scores["roc_auc"] is not None:
        low, high = scores["roc_auc_low"], scores["roc_auc_high"]
        rows.append(["any: ROC AUC", f"{scores['roc_auc']:.4f} [{low:.4f}, {high:.4f}]"])
        rows.append(["any: log loss", f"{scores['log_loss']:.4f}"])
    for name, words in (("per_100_smooth", "smooth images"), ("per_100_images", "images")):
        own = scores["false_detections"][name]
        if own is not None:
            rows.append(
                [
                    f"false detections of P ≥ 0.5 in 100 {words}",
                    f"{own['rate']:.2f} [{own['low']:.2f}, {own['high']:.2f}]",
                ]
            )
    unit, position, mass = scores["length_unit"], scores["position"], scores["mass"]
    for name, words in (("median", "all of P ≥ 0.5"), ("median_above_9.5", "above 10^9.5 Msun")):
        if position[name] is not None:
            own = position[name]
            rows.append(
                [f"position, median error, {words}", f"{own['value']:.4f} [{own['low']:.4f}, {own['high']:.4f}] {unit}"]
            )
    if mass["bias"] is not None:
        own = mass["bias"]
        rows.append(["mass, bias", f"{own['value']:+.3f} [{own['low']:+.3f}, {own['high']:+.3f}] dex"])
        rows.append(["mass, scatter", f"{mass['scatter']:.3f} dex"])
    for words, own in (("position", position["pulls"]), ("mass", mass["pulls"])):
        if own is not None:
            within = [f"{with_interval(own[f'within_{size}_sigma'])} %" for size in (1, 2)]
            rows.append([f"{words}, within one and two sigma (68.3, 95.4 %)", " and ".join(within)])
    for own in scores["calibration"]["expected_numbers"]:
        if own["ratio"] is not None:
            words = "all" if own["from"] is None else f"10^{own['from']:g} to 10^{own['to']:g} Msun"
            sums = f"{own['expected']:.1f} for {own['true']}"
            ratio = f"{own['ratio']:.3f} [{own['low']:.3f}, {own['high']:.3f}]"
            rows.append([f"expected number against what is there, {words}", f"{sums}: {ratio}"])
    return rows
