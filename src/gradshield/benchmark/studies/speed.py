"""What a score costs: engines, a plain forward pass, and what a user would pick instead.

Everything is a ratio to F: one plain forward of transformers over the same rows in the same run,
in padded batches in the order of the file, with all logits.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from scipy.stats import spearmanr
from transformers import LlamaConfig, LlamaForCausalLM

from gradshield.benchmark.memory import peak_memory
from gradshield.benchmark.peers import PEERS, Peer
from gradshield.benchmark.public_data import alpaca_rows, gsm8k_rows
from gradshield.benchmark.result import Bar, StudyResult
from gradshield.benchmark.screening import screening_rows
from gradshield.config import ScoringSettings
from gradshield.data import TokenizedExample, tokenize_conversation
from gradshield.models.likelihood import padded
from gradshield.models.load import DEFAULT_MODEL, LoadedModel, load_model
from gradshield.probes.calibration import answer_probes, measure_direction, probes
from gradshield.probes.direction import Direction, proxy_gradient
from gradshield.probes.prompt_sets import spread
from gradshield.probes.proxies import DEFAULT_PROXY, PROXIES, OwnAnswers
from gradshield.progress import Progress
from gradshield.reporting.charts import Chart, bars, points_with_line
from gradshield.scoring.batching import by_length
from gradshield.scoring.engines import ENGINES, Engine, ExampleScore
from gradshield.scoring.engines.per_example import PerExample
from gradshield.scoring.reference import reference_examples
from gradshield.scoring.score import score_examples

ROWS = 512
FEW_ROWS = 16
"""Rows on which peers are timed too: their time per row does not depend on how many there are."""
ROWS_LARGE, FEW_ROWS_LARGE = 12, 2
"""Rows of the large model, for the engines and for the peers beside them."""
PLAIN_BATCH = 8
LARGE_SHAPE = {"hidden_size": 1152, "intermediate_size": 3072, "num_hidden_layers": 34}
LARGE_HEADS = {"num_attention_heads": 18, "num_key_value_heads": 6}
"""About four times the parameters of the built-in model."""
SMALL_SHAPE = {"hidden_size": 64, "intermediate_size": 192, "num_hidden_layers": 4}
SMALL_HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
"""So small that 8,192 rows take minutes."""
LINEAR_ROWS = (512, 1024, 2048, 4096, 8192)
ROUGH_PROBES = 8
ORACLE = "per_example"
FAST, EXACT = "finite_difference", "jvp"
GIB = 2**30


@dataclass
class Case:
    """One model, direction and set of rows on which methods are compared.

    Attributes:
        name: What it is, for the result file.
        loaded: The model.
        direction: The direction.
        examples: The rows, in the order of the file.
        results: One entry a method.
        scores: FIHS by method, in the order of the rows.
        tokens: Scores with token contributions, by row, of the last engine that tells them.
    """

    name: str
    loaded: LoadedModel
    direction: Direction
    examples: Sequence[TokenizedExample]
    results: list[dict[str, Any]] = field(default_factory=list)
    scores: dict[str, np.ndarray[Any, np.dtype[np.float64]]] = field(default_factory=dict)
    tokens: dict[int, ExampleScore] = field(default_factory=dict)

    @property
    def direction_bytes(self) -> int:
        """Memory that one copy of the direction takes."""
        return sum(tensor.nbytes for tensor in self.direction.tensors.values())


def run(public_data: Path, progress: Progress) -> StudyResult:
    """Time engines and peers on two models, and the growth of cost with the number of rows."""
    loaded = load_model(DEFAULT_MODEL, dtype="float32", device="cpu", say=progress.say)
    examples = _examples(loaded, public_data)
    direction = measure_direction(
        loaded,
        answer_probes(loaded, progress),
        proxy_name=DEFAULT_PROXY,
        modules=ScoringSettings().modules,
        take_out=ScoringSettings().take_out,
        progress=progress,
    )
    whole = Case("built-in model, all rows", loaded, direction, examples)
    few = Case("built-in model, few rows", loaded, direction, spread(examples, FEW_ROWS))
    every_layer = Case(
        "built-in model, few rows, all linear layers",
        loaded,
        _rough_direction(loaded, None),
        spread(examples, FEW_ROWS),
    )
    compare(whole, progress, peers={})
    compare(few, progress, peers=PEERS)
    compare(every_layer, progress, peers={})
    _half_precision(few, progress)
    large = _random_model(loaded, LARGE_SHAPE | LARGE_HEADS)
    towards = _rough_direction(large, ScoringSettings().modules)
    name = "random model four times larger"
    engines = Case(f"{name}, engines", large, towards, spread(examples, ROWS_LARGE))
    peers = Case(f"{name}, peers", large, towards, spread(examples, FEW_ROWS_LARGE))
    compare(engines, progress, peers={})
    compare(peers, progress, peers=PEERS)
    growth = _growth(loaded, examples, progress)
    cases = [whole, few, every_layer, engines, peers]
    rows = [
        *(row for case in cases for row in case.results),
        *screening_rows(whole.tokens, whole.examples),
        *growth,
    ]
    return StudyResult(rows, _bars(cases, growth), charts=_charts(cases, growth))


def _examples(loaded: LoadedModel, public_data: Path) -> list[TokenizedExample]:
    conversations = [
        *spread(alpaca_rows(public_data), ROWS // 2),
        *spread(gsm8k_rows(public_data), ROWS // 2),
    ]
    return [
        tokenize_conversation(conversation, loaded.tokenizer, row=row, max_length=2048)
        for row, conversation in enumerate(conversations)
    ]


def _rough_direction(loaded: LoadedModel, modules: str | None) -> Direction:
    """The proxy's gradient on a few probes: where it points does not change what it costs."""
    proxy = PROXIES[DEFAULT_PROXY](loaded.tokenizer, OwnAnswers((), ()))
    texts = [prompt.text for prompt in spread(probes("harmful"), ROUGH_PROBES)]
    return proxy_gradient(loaded.model, loaded.tokenizer, proxy, texts, modules=modules)


def _random_model(loaded: LoadedModel, shape: dict[str, Any]) -> LoadedModel:
    """A Llama of a shape with random weights, and the tokenizer of another model."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=loaded.model.config.vocab_size, tie_word_embeddings=True, **shape
    )
    model = LlamaForCausalLM(config)
    model.eval()  # type: ignore[no-untyped-call]
    return LoadedModel(model, loaded.tokenizer, "random")


def compare(case: Case, progress: Progress, peers: dict[str, Peer]) -> None:
    """Time a plain forward, the engines and the peers on a case, and compare their scores."""
    plain_forward(case.loaded, case.examples[:PLAIN_BATCH])  # so that none pays for the first use
    _timed(case, "plain forward", lambda: plain_forward(case.loaded, case.examples), progress)
    engines: dict[str, Engine] = {
        ORACLE: PerExample(tokens=False),
        EXACT: ENGINES[EXACT],
        FAST: ENGINES[FAST],
    }
    for name, engine in engines.items():
        _time_engine(case, name, engine, progress)
    for name, peer in peers.items():
        _time_peer(case, name, peer, progress)
    expected = case.scores[ORACLE]
    for result in case.results:
        found = case.scores.get(result["method"])
        if found is not None:
            result |= _agreement(found, expected)


@torch.inference_mode()
def plain_forward(loaded: LoadedModel, examples: Sequence[TokenizedExample]) -> None:
    """One forward as anybody would write it: padded batches in file order, all logits."""
    for start in range(0, len(examples), PLAIN_BATCH):
        batch = [example.input_ids for example in examples[start : start + PLAIN_BATCH]]
        mask = padded([[1] * len(ids) for ids in batch])
        loaded.model(input_ids=padded(batch), attention_mask=mask)


def _timed(case: Case, method: str, work: Callable[[], Any], progress: Progress) -> Any:
    progress.say(f"{case.name}: {method}, {len(case.examples)} rows …")
    with peak_memory() as peak:
        clock = time.perf_counter()
        outcome = work()
        seconds = time.perf_counter() - clock
    forward = case.results[0]["seconds"] if case.results else seconds
    case.results.append(
        {
            "case": case.name,
            "method": method,
            "rows": len(case.examples),
            "tokens": sum(len(example.input_ids) for example in case.examples),
            "parameters": case.loaded.model.num_parameters(),
            "parameters_of_direction": sum(
                part.numel() for part in case.direction.tensors.values()
            ),
            "seconds": seconds,
            "ratio_to_plain_forward": round(seconds / forward, 3),
            "peak_bytes_above_model": peak.bytes,
            "bytes_of_direction": case.direction_bytes,
        }
    )
    progress.say(f"  {seconds:.1f} s, {seconds / forward:.2f} F")
    return outcome


def _time_engine(case: Case, name: str, engine: Engine, progress: Progress) -> None:
    clock = time.perf_counter()
    sample = reference_examples(case.loaded)
    prepared = engine.prepare(case.loaded.model, case.direction, "sum", sample)
    setup = time.perf_counter() - clock

    def work() -> dict[int, ExampleScore]:
        return score_examples(case.loaded, case.examples, prepared, batch_tokens=None)

    scores = _timed(case, name, work, progress)
    case.results[-1] |= {"setup_seconds": round(setup, 2), "notes": list(prepared.notes)}
    case.scores[name] = np.array([scores[example.row].fihs for example in case.examples])
    if scores[case.examples[0].row].token_fihs is not None:
        case.tokens = scores


def _time_peer(case: Case, name: str, peer: Peer, progress: Progress) -> None:
    try:
        installed = version(peer.package)
    except PackageNotFoundError:
        case.results.append({"case": case.name, "method": name, "skipped": "not installed"})
        progress.warn(f"{name} is not installed and left out: pip install 'gradshield[peers]'.")
        return

    def work() -> list[float]:
        return peer.scores(case.loaded.model, case.direction, case.examples)

    # The first call imports the library, which is no part of the cost of a row.
    peer.scores(case.loaded.model, case.direction, case.examples[:1])

    scores = _timed(case, name, work, progress)
    case.results[-1] |= {"version": installed, "computes": peer.computes}
    if peer.comparable_values:
        case.scores[name] = np.array(scores)


def _agreement(found: Any, expected: Any) -> dict[str, float]:
    """Rank correlation, and the root mean square of the differences over that of the expected."""
    error = np.sqrt(np.mean((found - expected) ** 2) / np.mean(expected**2))
    return {"spearman": float(spearmanr(expected, found).statistic), "relative_error": float(error)}


def _half_precision(case: Case, progress: Progress) -> None:
    """How the exact engine ranks in bfloat16, against the oracle in float32."""
    half = load_model(DEFAULT_MODEL, dtype="bfloat16", device="cpu")
    halved = Case(case.name, half, case.direction, case.examples, case.results)
    _time_engine(halved, EXACT, ENGINES[EXACT], progress)
    agreement = _agreement(halved.scores[EXACT], case.scores[ORACLE])
    case.results[-1] |= {"method": f"{EXACT} in bfloat16", **agreement}


def _growth(
    loaded: LoadedModel, examples: Sequence[TokenizedExample], progress: Progress
) -> list[dict[str, Any]]:
    """Seconds of the fast engine on more and more rows, the shortest ones again and again."""
    small = _random_model(loaded, SMALL_SHAPE | SMALL_HEADS)
    direction = _rough_direction(small, ScoringSettings().modules)
    engine = ENGINES[FAST].prepare(small.model, direction, "sum", reference_examples(small))
    pattern = by_length(examples)[: len(examples) // 4]
    rows = []
    for count in (PLAIN_BATCH, *LINEAR_ROWS):  # the first is a warm-up
        many = [
            TokenizedExample(row, example.input_ids, example.response_mask, example.truncated)
            for row, example in enumerate((pattern * (count // len(pattern) + 1))[:count])
        ]
        progress.say(f"growth: {count} rows …")
        clock = time.perf_counter()
        score_examples(small, many, engine, batch_tokens=None)
        tokens = sum(len(example.input_ids) for example in many)
        seconds = time.perf_counter() - clock
        rows.append({"case": "growth", "rows": count, "tokens": tokens, "seconds": seconds})
    return rows[1:]


def _bars(cases: Sequence[Case], growth: Sequence[dict[str, Any]]) -> list[Bar]:
    whole, few, _, large, few_large = cases
    found = []
    for case in (whole, large):
        for method, limit in ((EXACT, 3.2), (FAST, 1.5)):
            result = _result(case, method)
            ratio = result["ratio_to_plain_forward"]
            found.append(Bar(f"{case.name}: {method}, in F", ratio, "<=", limit))
            if result["peak_bytes_above_model"] is not None:
                above = (result["peak_bytes_above_model"] - case.direction_bytes) / GIB
                name = f"{case.name}: {method}, memory above model and direction, GiB"
                found.append(Bar(name, above, "<=", 1.0))
        spearman = _result(case, FAST)["spearman"]
        found.append(Bar(f"{case.name}: {FAST}, Spearman with oracle", spearman, ">=", 0.999))
    half = _result(few, f"{EXACT} in bfloat16")
    found.append(
        Bar(f"{few.name}: {half['method']}, Spearman with oracle", half["spearman"], ">=", 0.995)
    )
    for case in (few, few_large):
        fast = _result(case, FAST)["seconds"]
        for peer in PEERS:
            result = _result(case, peer)
            if "seconds" in result:
                times = result["seconds"] / fast
                found.append(Bar(f"{case.name}: {peer} over {FAST}, times", times, ">=", 4.0))
    found.append(Bar("growth: R² of seconds linear in tokens", _linear(growth)[1], ">=", 0.99))
    return found


def _result(case: Case, method: str) -> dict[str, Any]:
    return next(result for result in case.results if result["method"] == method)


def _linear(growth: Sequence[dict[str, Any]]) -> tuple[float, float]:
    """Seconds per token of the line through the origin, and the share of variance it explains."""
    tokens = np.array([row["tokens"] for row in growth], dtype=float)
    seconds = np.array([row["seconds"] for row in growth])
    slope = float(tokens @ seconds / (tokens @ tokens))
    rest = np.sum((seconds - slope * tokens) ** 2)
    return slope, float(1 - rest / np.sum((seconds - seconds.mean()) ** 2))


def _charts(cases: Sequence[Case], growth: Sequence[dict[str, Any]]) -> dict[str, Chart]:
    _, few, _, _, large = cases
    charts = {
        name: bars(
            [
                {
                    "label": result["method"],
                    "value": result["ratio_to_plain_forward"],
                    "group": "GradShield" if result["method"] in (FAST, EXACT, ORACLE) else "other",
                }
                for result in case.results
                if "seconds" in result and "bfloat16" not in result["method"]
            ],
            title=title,
            value="time, in plain forward passes over the same rows",
            label="label",
        )
        for name, case, title in (
            ("cost", few, f"SmolLM2-135M, {FEW_ROWS} rows of Alpaca and GSM8K"),
            (
                "cost-large",
                large,
                f"Random Llama, four times larger, {FEW_ROWS_LARGE} rows of Alpaca and GSM8K",
            ),
        )
    }
    points = [{"x": row["tokens"], "y": row["seconds"]} for row in growth]
    charts["growth"] = points_with_line(
        points,
        title="512 to 8,192 rows, small model",
        x="tokens",
        y="seconds",
        slope=_linear(growth)[0],
    )
    return charts
