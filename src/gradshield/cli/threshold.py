"""`gradshield threshold`: decide again, without the model."""

from __future__ import annotations

from gradshield.cli import options as o
from gradshield.cli.closing import show_closing
from gradshield.cli.display import Display
from gradshield.cli.run_config import checked
from gradshield.config import ThresholdSettings
from gradshield.run.folder import RunFolder
from gradshield.run.lock import at_work
from gradshield.run.report import write_report
from gradshield.run.summary import write_summary
from gradshield.run.threshold import threshold as decide_threshold


def threshold_command(
    run: o.RunArgument,
    threshold: o.RuleOption = o.DEFAULT_RULE,
    level: o.LevelOption = 0.02,
    seed: o.SeedOption = 0,
    show_text: o.ShowTextOption = False,
    json: o.JsonOption = False,
) -> None:
    """Choose the threshold from the scores in RUN and write decision.json.

    No data file is written: look at the counts and at report.html, then run `gradshield apply RUN`.
    """
    folder = RunFolder(run)
    settings = checked(ThresholdSettings, rule=threshold, level=level, seed=seed)
    display = Display(quiet=True)
    with at_work(folder, display):
        config = folder.read_config().model_copy(update={"threshold": settings})
        decide_threshold(folder, settings)
        folder.write_config(config)
        write_summary(config, folder)
        write_report(config, folder, display)
    show_closing(folder, as_json=json, show_text=show_text, applied=False)
