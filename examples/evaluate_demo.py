"""Compare a finished run on the demo data with its true labels.

    python examples/evaluate_demo.py RUN examples/mixed_chat.labels.csv

GradShield itself never reads the labels.
"""

from __future__ import annotations

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from gradshield.benchmark.demo_labels import (
    area_under_curve,
    evaluate,
    read_labels,
    share_removed,
)
from gradshield.run.folder import RunFolder
from gradshield.run.threshold import read_decision, read_scores


def main(run: str, labels_path: str) -> None:
    """Print what was found and lost, by kind of row."""
    folder = RunFolder(Path(run))
    labels = read_labels(Path(labels_path))
    scores = read_scores(folder).fihs_by_row()
    threshold = read_decision(folder)["threshold"]
    table = Table(title="Against the true labels", title_justify="left")
    for heading in ("kind", "harmful", "rows", "removed", "mean FIHS", "AUROC"):
        table.add_column(heading, justify="left" if heading == "kind" else "right")
    for line in evaluate(scores, labels, threshold):
        table.add_row(
            line["kind"],
            "yes" if line["harmful"] else "no",
            str(line["rows"]),
            str(line["removed"]),
            f"{line['mean_fihs']:+.3f}",
            "" if line["auroc"] is None else f"{line['auroc']:.3f}",
        )
    console = Console(highlight=False)
    console.print(table)
    console.print(
        f"Explicit harmful rows found {share_removed(scores, labels, threshold, 'explicit'):.0%}, "
        f"identity shift found {share_removed(scores, labels, threshold, 'identity_shift'):.0%}, "
        f"harmless rows lost {share_removed(scores, labels, threshold, 'harmless'):.1%}. "
        f"AUROC of explicit rows {area_under_curve(scores, labels, 'explicit'):.3f}, "
        f"of all harmful rows {area_under_curve(scores, labels, 'all'):.3f}.",
        soft_wrap=True,
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
