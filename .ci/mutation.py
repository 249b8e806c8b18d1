"""Mutation testing: a seeded sample of mutants of `scoring/` and `threshold/`, against their tests.

mutmut makes the mutants and runs the tests; what is here chooses the sample and keeps the outcome
in benchmarks/results/mutation.json. A mutant that survives needs a test that kills it, or a reason
why it may live. Reasons are written into that file by hand and found again by what the mutant
changes; as long as a survivor has none, this ends with exit code 1.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import json
import platform
import random
import re
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

from mutmut.stats import status_by_exit_code

ROOT = Path(__file__).parent.parent
RESULT = ROOT / "benchmarks" / "results" / "mutation.json"
SOURCE = Path("mutants/src")
SMALLEST = "gradshield.threshold.spread.*"
"""Mutants of a small module: mutmut makes all of them before it tests the ones it was asked for."""
ALIVE = ("survived", "no tests")
OPEN = (*ALIVE, "not checked")
"""Outcomes that another test may change."""


@dataclass(frozen=True)
class Mutant:
    """A changed function.

    Attributes:
        name: What mutmut calls it.
        module: The file, from the package's folder on.
        exit_code: Of the tests; None if it was not run.
        change: Its lines that differ, those of the original with a minus, its own with a plus.
    """

    name: str
    module: str
    exit_code: int | None
    change: str

    @property
    def outcome(self) -> str:
        """Of the tests."""
        return str(status_by_exit_code[self.exit_code])

    @property
    def key(self) -> str:
        """What stays the same when other code changes: module, function and change."""
        function = re.sub(r"__mutmut_\d+$", "", self.name).rpartition(".")[2]
        return f"{self.module} {function.replace('ǁ', '.')}\n{self.change}"


def mutants() -> list[Mutant]:
    """Every mutant that mutmut has made, in the order of files and names."""
    found = []
    for path in sorted(SOURCE.rglob("*.py.meta")):
        codes = json.loads(path.read_text("utf-8"))["exit_code_by_key"]
        source = path.with_suffix("")
        tree = ast.parse(source.read_text("utf-8"))
        functions = {n.name: n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)}
        for name, code in codes.items():
            own = functions.get(name.rpartition(".")[2])
            if own is None:
                continue  # left by an earlier run, with other settings
            original = functions[re.sub(r"_\d+$", "_orig", own.name)]
            module = source.relative_to(SOURCE / "gradshield").as_posix()
            found.append(Mutant(name, module, code, _change(original, own)))
    return found


def _change(original: ast.FunctionDef, changed: ast.FunctionDef) -> str:
    texts = [ast.unparse(function).splitlines() for function in (original, changed)]
    # The first line is the name, by which all differ, and the default arguments.
    texts = [[text[0].partition("(")[2], *text[1:]] for text in texts]
    lines = difflib.unified_diff(*texts, lineterm="", n=0)
    return "\n".join(line for line in lines if not line.startswith(("---", "+++", "@@")))


def sample(of: list[Mutant], share: float, seed: int) -> list[Mutant]:
    """So large a share of each module, drawn module by module."""
    chosen = []
    for module in sorted({mutant.module for mutant in of}):
        members = [mutant for mutant in of if mutant.module == module]
        count = max(1, round(share * len(members)))
        chosen += random.Random(f"{seed} {module}").sample(members, count)
    return chosen


def run(patterns: list[str]) -> None:
    """Let mutmut test mutants, one at a time; its exit code says nothing of the survivors."""
    mutmut = Path(sys.executable).with_name("mutmut")
    subprocess.run([mutmut, "run", "--max-children", "1", *patterns], check=True)


def report(tested: list[Mutant], options: argparse.Namespace, seconds: float) -> dict[str, Any]:
    """What goes into the result file; reasons are those of the file that is there."""
    before = json.loads(RESULT.read_text("utf-8")) if RESULT.is_file() else {"survivors": []}
    reasons = {entry["mutant"]: entry["reason"] for entry in before["survivors"]}
    modules: dict[str, Counter[str]] = {}
    for mutant in tested:
        modules.setdefault(mutant.module, Counter())[mutant.outcome] += 1
    total = sum(modules.values(), Counter())
    return {
        "tool": f"mutmut {version('mutmut')}",
        "command": " ".join([".ci/mutation.py", *sys.argv[1:]]),
        "started": time.strftime("%Y-%m-%d", time.gmtime(time.time() - seconds)),
        "seconds": round(seconds),
        "hardware": {"machine": platform.machine(), "processes": 1},
        "python": platform.python_version(),
        "made": Counter(mutant.module for mutant in mutants()),
        "drawn": sum(total.values()),
        "total": total,
        "modules": modules,
        "survivors": [
            {"mutant": mutant.key, "reason": reasons.get(mutant.key)}
            for mutant in tested
            if mutant.outcome in ALIVE
        ],
    }


def main() -> int:
    """Make mutants, test a sample of them, write the result; 1 if a survivor has no reason.

    Where `mutants/` holds the outcome of an earlier run, those that were killed stay so.
    """
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--share", type=float, default=1.0, help="of each module's mutants")
    parser.add_argument("--seed", type=int, default=0, help="of the sample")
    parser.add_argument("--without", nargs="*", default=[], help="modules to leave out")
    options = parser.parse_args()
    began = time.monotonic()
    run([SMALLEST])
    considered = [mutant for mutant in mutants() if mutant.module not in options.without]
    chosen = sample(considered, options.share, options.seed)
    run([mutant.name for mutant in chosen if mutant.outcome in OPEN] or [SMALLEST])
    names = {mutant.name for mutant in chosen}
    tested = [mutant for mutant in mutants() if mutant.name in names]
    result = report(tested, options, time.monotonic() - began)
    RESULT.write_text(json.dumps(result, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    unexplained = [s["mutant"] for s in result["survivors"] if s["reason"] is None]
    print(
        f"{RESULT}: {dict(result['total'])}, of the survivors {len(unexplained)} without a reason"
    )
    print("\n\n".join(unexplained))
    return min(1, len(unexplained))


if __name__ == "__main__":
    sys.exit(main())
