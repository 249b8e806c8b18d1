"""The report of a run folder, in each of its forms."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from gradshield.data import open_source
from gradshield.errors import UserError
from gradshield.evaluation.intervals import wilson
from gradshield.progress import Silent
from gradshield.reporting import details
from gradshield.reporting.document import ReportDocument, report_schema
from gradshield.reporting.sarif import sarif_log
from gradshield.run.apply import review_of
from gradshield.run.folder import RunFolder, write_json
from gradshield.run.incoming_overrides import read_exported
from gradshield.run.overrides import record_overrides
from gradshield.run.report import write_report
from gradshield.run.threshold import count_again, read_decision
from tests.reporting.runs import chat, plain_rows, synthetic_run
from tests.reporting.sarif_rules import SARIF
from tests.run.page_content import page_data, page_details
from tests.run.run_folders import exported, mark

ROWS, HIGH, REJECTED = 40, (3, 11, 25), (7,)
FILES = ("report.html", "report.json", "report.sarif", "data_card.md")


class Told(Silent):
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    rows = plain_rows(ROWS)
    return synthetic_run(tmp_path, rows, high=HIGH, rejected=REJECTED, at=3.0)


def _written(run: RunFolder, **options: Any) -> dict[str, str]:
    page = write_report(run.read_config(), run, **options)
    return {name: (page.parent / name).read_text(encoding="utf-8") for name in FILES}


def test_the_json_report_follows_its_schema_and_counts_every_row(run: RunFolder) -> None:
    report = json.loads(_written(run)["report.json"])
    Draft202012Validator(json.loads(report_schema())).validate(report)
    assert [row["row"] for row in report["rows"]] == list(range(ROWS))
    assert report["counts"] == {
        "rows": 40,
        "kept": 36,
        "removed": 3,
        "rejected": 1,
        "overruled": 0,
    }
    removed = [row for row in report["rows"] if row["outcome"] == "removed"]
    assert {row["row"] for row in removed} == set(HIGH)
    assert all(row["distance"] >= 0 and row["line"] == row["row"] + 1 for row in removed)
    assert report["rows"][7]["reason"] == "empty_response: turn 2 has no text"
    assert {s["source"]: s["rows"] for s in report["sources"]} == {"alpha": 26, "beta": 14}


def test_the_committed_schema_is_that_of_the_code() -> None:
    committed = Path(__file__).parents[2] / "docs" / "report.schema.json"
    assert committed.read_text(encoding="utf-8") == report_schema()


def test_a_document_is_read_back(run: RunFolder) -> None:
    text = _written(run)["report.json"]
    assert ReportDocument.model_validate_json(text).model_dump(mode="json") == json.loads(text)


def test_sarif_has_a_result_for_each_removed_row(run: RunFolder) -> None:
    files = _written(run)
    log, report = json.loads(files["report.sarif"]), json.loads(files["report.json"])
    Draft202012Validator(SARIF).validate(log)
    results = log["runs"][0]["results"]
    assert [result["properties"]["row"] for result in results] == list(HIGH)
    for result in results:
        row = report["rows"][result["properties"]["row"]]
        assert result["ruleId"] == "high_fihs"
        assert result["rank"] == row["percentile"]
        place = result["locations"][0]["physicalLocation"]
        assert place["region"] == {"startLine": row["line"]}
        assert place["artifactLocation"]["uri"] == f"file://{run.path.parent}/train.jsonl"
        line = (run.path.parent / "train.jsonl").read_bytes().splitlines()[row["row"]]
        expected = hashlib.sha256(line).hexdigest()
        assert result["partialFingerprints"] == {"gradshieldRow/v1": expected}


def test_sarif_names_the_shard_of_a_row(run: RunFolder) -> None:
    document = ReportDocument.model_validate_json(_written(run)["report.json"])
    rows = tuple(row.model_copy(update={"file": "a b/part-1.jsonl"}) for row in document.rows)
    log = json.loads("".join(sarif_log(document, rows)))
    results = log["runs"][0]["results"]
    assert len(results) == ROWS
    assert {
        result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"] for result in results
    } == {"a%20b/part-1.jsonl"}


def overrule(run: RunFolder) -> None:
    """Row 3 is kept and row 5 removed by Ada; she agrees that row 11 is removed."""
    data = run.path.parent / "train.jsonl"
    (run.path.parent / "data.jsonl").write_bytes(data.read_bytes())
    marks = [
        mark(run, 3, "keep", reason="A plain list."),
        mark(run, 5, "remove", reason="Odd."),
        mark(run, 11, "remove", reason="Agreed."),
    ]
    reviewed = review_of(run, open_source(data))
    record_overrides(run, read_exported(exported(run, marks), reviewed), reviewed)
    count_again(run)


def test_overrides_are_told_everywhere(run: RunFolder) -> None:
    overrule(run)
    files = _written(run)
    report = json.loads(files["report.json"])
    assert report["counts"]["overruled"] == 2
    decision = read_decision(run)
    for name in ("kept", "removed", "rejected"):
        assert report["counts"][name] == decision[name]
    assert (report["rows"][3]["state"], report["rows"][3]["outcome"]) == ("removed", "kept")
    assert (
        report["rows"][5]["findings"] == ["overruled"]
        or "overruled" in report["rows"][5]["findings"]
    )
    assert "overruled" not in report["rows"][11]["findings"]
    log = json.loads(files["report.sarif"])
    Draft202012Validator(SARIF).validate(log)
    results = {result["properties"]["row"]: result for result in log["runs"][0]["results"]}
    assert set(results) == {*HIGH, 5}
    assert results[5]["ruleId"] == "removed_by_reviewer"
    assert results[3]["suppressions"] == [
        {
            "kind": "external",
            "status": "accepted",
            "justification": "Ada, 2026-11-26T07:00:00Z: A plain list.",
        }
    ]
    assert "suppressions" not in results[11]
    assert page_data(files["report.html"])["columns"]["override"]["3"]["reason"] == "A plain list."
    assert "2 rows that reviewers decided otherwise" in files["report.html"]


def test_the_page_holds_every_row_and_allows_its_own_script_alone(run: RunFolder) -> None:
    page = _written(run)["report.html"]
    rows = page_details(page)
    assert set(rows) == set(range(ROWS))
    assert rows[11]["turns"][0] == ["user", "Name place 11.", []]
    assert sum(rows[11]["turns"][1][2]) == len(rows[11]["turns"][1][1])
    assert rows[7]["turns"][1][1].startswith("The ")
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy is not None
    directives = dict(part.split(" ", 1) for part in policy[1].replace("&#39;", "'").split("; "))
    assert directives["default-src"] == "'none'"
    for element, directive in (("script", "script-src"), ("style", "style-src")):
        texts = re.findall(rf"<{element}>(.*?)</{element}>", page, re.DOTALL)
        assert len(texts) == 1
        digest = base64.b64encode(hashlib.sha256(texts[0].encode()).digest()).decode()
        assert directives[directive] == f"'sha256-{digest}'"
    assert not re.search(r"\son\w+=|style=|https?://(?!www\.w3\.org)", page)
    assert "<!-- gradshield:review -->" in page.split("</head>")[0]


def test_text_of_rows_cannot_end_the_data(tmp_path: Path) -> None:
    hostile = "</script><script>alert(1)</script>\u2028&"
    rows = [chat(hostile, hostile, id=hostile, source=hostile), *plain_rows(5)]
    run = synthetic_run(tmp_path, rows, at=3.0)
    page = _written(run)["report.html"]
    assert "alert(1)</script>" not in page
    assert page.count("</script>") == 3  # data, one block of rows, and the page's own
    assert page_data(page)["columns"]["id"][0] == hostile
    assert page_details(page)[0]["turns"][0][1] == hostile


def test_redacted_nothing_of_the_data_is_left(run: RunFolder) -> None:
    overrule(run)
    files = _written(run, out=run.redacted, redact=True)
    names = {path.name for path in run.redacted.iterdir()}
    assert names == set(FILES)
    for name, text in files.items():
        for secret in ("Name place", "own-", "alpha", "plain list", "has no text", "Loire", "/tmp"):
            assert secret not in text, (name, secret)
    assert page_details(files["report.html"]) == {}
    assert "gradshield:review" not in files["report.html"]
    report = json.loads(files["report.json"])
    assert report["redacted"]
    assert report["rows"][7]["reason"] == "empty_response"
    assert report["rows"][3]["override"]["reason"] is None
    justification = json.loads(files["report.sarif"])["runs"][0]["results"][0]["suppressions"]
    assert justification[0]["justification"].endswith("reason withheld")


def test_a_data_card_has_front_matter_and_says_what_it_cannot_see(run: RunFolder) -> None:
    card = _written(run)["data_card.md"]
    _, head, text = card.split("---\n", 2)
    facts = yaml.safe_load(head)
    assert facts["outcome"] == {"kept": 36, "removed": 3, "rejected": 1, "overruled": 0}
    assert facts["removed_share"] == 0.075
    assert facts["scored_with"]["proxy"] == "contrast"
    assert facts["data"]["rows"] == 40
    assert facts["decision"]["threshold"] == 3.0
    assert "## What this cannot see" in text
    assert "**Not measured.**" in text


def test_no_weights_are_needed(run: RunFolder, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model folder of these runs holds a tokenizer and nothing else."""
    assert not list((run.path.parent / "model").glob("*.safetensors"))
    assert any(page_details(_written(run)["report.html"])[3]["levels"])


@pytest.mark.parametrize("fault", ["gone", "changed"])
def test_without_its_input_a_report_has_no_texts_and_says_so(run: RunFolder, fault: str) -> None:
    data = run.path.parent / "train.jsonl"
    data.unlink() if fault == "gone" else data.write_text('{"a": 1}\n')
    told = Told()
    files = _written(run, progress=told)
    assert fault in told.lines[0]
    assert fault in files["report.html"]
    assert page_details(files["report.html"]) == {}
    report = json.loads(files["report.json"])
    assert report["rows"][0]["line"] is report["rows"][0]["fingerprint"] is None
    Draft202012Validator(SARIF).validate(json.loads(files["report.sarif"]))


def test_without_its_tokenizer_no_token_is_shaded(run: RunFolder) -> None:
    told = Told()
    for path in (run.path.parent / "model").iterdir():
        path.unlink()
    rows = page_details(_written(run, progress=told)["report.html"])
    assert "no token is shaded" in told.lines[0]
    assert rows[3]["levels"] == []
    assert rows[3]["turns"][1][1].startswith("The ")


def test_another_tokenizer_is_not_trusted(run: RunFolder) -> None:
    content = json.loads(run.provenance.read_text())
    content["identity"]["tokenizer_sha256"] = "0" * 64
    write_json(run.provenance, content)
    told = Told()
    _written(run, progress=told)
    assert "is not the one that scored" in told.lines[0]


def test_rows_without_room_go_beside_the_page(
    run: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(details, "ROWS_PER_BLOCK", 10)
    monkeypatch.setattr(details, "MOST_PACKED_BYTES", 3000)
    page = _written(run)["report.html"]
    inside = page_details(page)
    assert {*HIGH, *REJECTED} <= set(inside)  # what a reviewer opens first
    beside = page_data(page)["beside"]
    assert beside
    numbers = [row for part in beside for row in part["rows"]]
    assert sorted([*inside, *numbers]) == list(range(ROWS))
    for part in beside:
        rows = json.loads((run.path / part["file"]).read_text(encoding="utf-8"))
        assert [row["row"] for row in rows] == part["rows"]
    monkeypatch.undo()
    _written(run)
    assert not (run.path / "report_rows").exists()


def test_nothing_scored_has_a_report(tmp_path: Path) -> None:
    run = synthetic_run(tmp_path, plain_rows(3), rejected=[0, 1, 2], at=3.0)
    files = _written(run)
    assert "0 are kept, 3 could not be scored" in files["report.html"]
    assert json.loads(files["report.sarif"])["runs"][0]["results"] == []


def test_without_a_threshold(tmp_path: Path) -> None:
    run = synthetic_run(tmp_path, plain_rows(6), at=float("inf"))
    files = _written(run)
    assert "found no threshold" in files["report.html"]
    assert json.loads(files["report.json"])["decision"]["threshold"] is None


def test_before_there_is_a_decision(run: RunFolder) -> None:
    run.decision.unlink()
    with pytest.raises(UserError, match="gradshield threshold"):
        write_report(run.read_config(), run)


def _point(kept: int, complied: int, **fields: Any) -> dict[str, Any]:
    tested = {"harmful": {"prompts": 200, "refused": 200 - 2 * complied}}
    tested["ordinary"] = {"prompts": 50, "refused": 3}
    low, high = wilson(complied, 100).low, wilson(complied, 100).high
    return {
        "kept": kept,
        "kept_share": kept / 40,
        "threshold": 3.0,
        "attack_success_rate": complied / 100,
        "interval": {"low": low, "high": high},
        "safe": complied <= 6,
        "useful": True,
        "complied": complied,
        "prompts": 100,
        "utility": 0.5,
        "details": {"test": tested},
        **fields,
    }


def test_a_search_and_what_it_proved_are_told(tmp_path: Path) -> None:
    run = synthetic_run(tmp_path, plain_rows(ROWS), high=HIGH, at=3.0, search={"target_asr": 0.06})
    points = [_point(40, 47, threshold=None), _point(37, 4)]
    trace = {"status": "found", "rows": 40, "aligned": _point(0, 1), "points": points}
    write_json(run.trace, trace)
    decision = json.loads(run.decision.read_text())
    diagnostics = {"from_scores_alone": decision}
    write_json(run.decision, {**decision, "method": "search", "diagnostics": diagnostics})
    files = _written(run)
    report = json.loads(files["report.json"])
    assert [model["name"] for model in report["models"]] == ["nothing", "all rows", "the kept rows"]
    everything = report["models"][1]
    assert everything["test_asr"] == 0.47
    assert everything["test_asr_low"] == pytest.approx(wilson(94, 200).low)
    assert everything["over_refusal_high"] == pytest.approx(wilson(3, 50).high)
    assert [point["kept"] for point in report["search"]["points"]] == [40, 37]
    assert report["search"]["points"][0]["threshold"] is None
    page = files["report.html"]
    assert page.count("<svg ") == 3
    assert "Safety and utility, before and after" in page
    assert "target of 6.0 %" in page
    assert "complied with 47.0 % of harmful test prompts" in files["data_card.md"]


def test_the_same_run_has_the_same_report(run: RunFolder) -> None:
    assert _written(run) == _written(run)
