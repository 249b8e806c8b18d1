"""FIHS from a serving engine: two adapters, prompt log-probabilities, a central difference.

The engine serves the model with two LoRA adapters, theta_0 + e g/|g| and theta_0 - e g/|g|, that
`gradshield direction export` wrote. It is asked for the log-probabilities of a row's tokens under
both, and what is needed beside them is the tokenizer.

The reply is that of vLLM's completions endpoint, which knows `prompt_logprobs`: for each token of
the prompt a map from token id to log-probability, and null for the first. Where a reply has none,
the endpoint is asked as OpenAI's once was: with `echo`, for log-probabilities of what is echoed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from typing import Any
from urllib.error import HTTPError

import torch
from torch import Tensor

from gradshield.api import BusyError, Patience, api_key, json_request, shown
from gradshield.data.conversation import Rejection
from gradshield.data.survey import Scorable
from gradshield.data.tokenization import TokenizedExample
from gradshield.errors import UserError
from gradshield.scoring.engines.base import Reduction
from gradshield.scoring.engines.finite_difference import central_difference
from gradshield.scoring.parts import Advance, Ids
from gradshield.scoring.table import reason_text, rejected_line, scored_line

DECLINED = frozenset({400, 413, 422})
"""HTTP statuses that say something of one request, such as a row that is too long."""


@dataclass(frozen=True)
class ServedModel:
    """A model with two adapters behind an OpenAI-compatible completions endpoint.

    Attributes:
        url: Of the API, such as `http://localhost:8000/v1`; `/completions` is added.
        above: The endpoint's name of the adapter that is a step above the model.
        below: That of the one below.
        step: Length e of the step in parameter space.
        key_variable: Environment variable that holds the API key; None sends no key.
        concurrency: Rows under way at once.
        patience: How long a busy server is waited for.
    """

    url: str
    above: str
    below: str
    step: float
    key_variable: str | None = None
    concurrency: int = 32
    patience: Patience = field(default_factory=Patience)

    def check(self) -> None:
        """See whether the endpoint is there and knows both adapters.

        Raises:
            UserError: It is not, or it does not.
        """
        if not self.url.startswith(("http://", "https://")):
            raise UserError(
                f"The endpoint {self.url} is no http or https address: give one such as "
                "http://localhost:8000/v1."
            )
        reply = self._ask("models", None)
        try:
            names = [str(model["id"]) for model in reply["data"]]
        except (LookupError, TypeError) as fault:
            raise UserError(
                f"{self.url}/models is no list of models: give the address of an "
                "OpenAI-compatible API, which as a rule ends in /v1."
            ) from fault
        missing = [name for name in (self.above, self.below) if name not in names]
        if missing:
            raise UserError(
                f"The endpoint {self.url} does not serve {' and '.join(missing)}, only "
                f"{', '.join(names) or 'nothing'}: start it with both adapters, as in `vllm serve "
                f"MODEL --enable-lora --lora-modules {self.above}=ADAPTERS/above "
                f"{self.below}=ADAPTERS/below`."
            )

    def score(
        self,
        rows: Sequence[Scorable],
        ids: Ids,
        advance: Advance,
        reduction: Reduction,
    ) -> list[dict[str, Any]]:
        """A line of the score table for each row; a row that is declined by itself is rejected.

        Args:
            rows: Plain rows: a served model scores no preferences.
            ids: The own id of a row, by its position.
            advance: Told how many more rows are done.
            reduction: What l(z) is of the response tokens' losses.

        Raises:
            UserError: The endpoint is gone, does not know an adapter, or has other tokens.
        """
        examples = [row for row in rows if isinstance(row, TokenizedExample)]
        lines = []
        with ThreadPoolExecutor(self.concurrency) as pool:
            under_way = {
                pool.submit(self._line, example, ids, reduction): example for example in examples
            }
            try:
                for future in as_completed(under_way):
                    lines.append(future.result())
                    advance(1)
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
        return lines

    def _line(self, example: TokenizedExample, ids: Ids, reduction: Reduction) -> dict[str, Any]:
        own = ids.get(example.row)
        try:
            above, below = (self.losses(name, example) for name in (self.above, self.below))
        except Rejection as rejection:
            return rejected_line(example.row, own, reason_text(rejection))
        score = central_difference(example.row, above, below, self.step, reduction)
        return scored_line(example, score, own)

    def losses(self, adapter: str, example: TokenizedExample) -> Tensor:
        """Losses of the response tokens under an adapter, [response tokens], float64, in nats.

        Raises:
            Rejection: The endpoint declines this row.
            UserError: See `score`.
        """
        tokens = list(example.input_ids)
        body = {"model": adapter, "prompt": tokens, "max_tokens": 1, "temperature": 0}
        choice = self._choice({**body, "prompt_logprobs": 1}, example)
        if choice.get("prompt_logprobs") is not None:
            found = self._of_prompt(choice["prompt_logprobs"], tokens, example)
        else:
            choice = self._choice({**body, "logprobs": 1, "echo": True}, example)
            found = self._of_echo(choice.get("logprobs"), tokens, example)
        response = torch.tensor(example.response_mask)
        return -torch.tensor(found, dtype=torch.float64)[response]

    def _of_prompt(self, listed: Any, tokens: list[int], example: TokenizedExample) -> list[float]:
        if not isinstance(listed, list) or len(listed) != len(tokens):
            count = len(listed) if isinstance(listed, list) else 0
            raise self._other_tokens(example, f"{count} tokens instead of {len(tokens)}")
        found = [0.0]
        for position, (token, known) in enumerate(zip(tokens, listed, strict=True)):
            if position == 0:
                continue  # nothing predicts it
            try:
                found.append(float(known[str(token)]["logprob"]))
            except (LookupError, TypeError, ValueError) as fault:
                what = f"no log-probability of token {token} at place {position}"
                raise self._other_tokens(example, what) from fault
        return found

    def _of_echo(self, given: Any, tokens: list[int], example: TokenizedExample) -> list[float]:
        values = given.get("token_logprobs") if isinstance(given, dict) else None
        if not isinstance(values, list):
            raise UserError(
                f"The endpoint {self.url} gives no log-probabilities of prompts, neither by "
                "prompt_logprobs nor by echo: use vLLM, or another server that has one of them."
            )
        # What was generated, one token at most, stands behind what was echoed.
        if len(values) - len(tokens) not in (0, 1) or None in values[1 : len(tokens)]:
            raise self._other_tokens(example, f"{len(values)} tokens instead of {len(tokens)}")
        return [0.0, *map(float, values[1 : len(tokens)])]

    def _other_tokens(self, example: TokenizedExample, what: str) -> UserError:
        return UserError(
            f"The endpoint {self.url} has other tokens of row {example.row} than were sent "
            f"({what}): it must serve the very model whose tokenizer is used here, and neither "
            "add nor cut tokens."
        )

    def _choice(self, body: dict[str, Any], example: TokenizedExample) -> dict[str, Any]:
        try:
            reply = self._ask("completions", body)
        except _DeclinedError as fault:
            raise Rejection("endpoint_declined", str(fault)) from fault
        try:
            choice = reply["choices"][0]
            return dict(choice)
        except (LookupError, TypeError, ValueError) as fault:
            raise UserError(
                f"The endpoint {self.url} gave no completion of row {example.row}: "
                f"{shown(json.dumps(reply).encode())}."
            ) from fault

    def _ask(self, path: str, body: dict[str, Any] | None) -> Any:
        url = f"{self.url.rstrip('/')}/{path}"
        try:
            content = self.patience.fetch(
                json_request(url, body, api_key(self.key_variable, self.url))
            )
            return json.loads(content)
        except BusyError as fault:
            raise UserError(
                f"The endpoint {self.url} cannot be had ({fault}), in {self.patience.retries + 1} "
                "tries: check that it runs. What is scored is kept; the same command goes on."
            ) from fault
        except HTTPError as fault:
            raise self._declined(url, body, fault) from fault
        except ValueError as fault:
            raise UserError(f"{url} does not reply in JSON: {shown(content)}.") from fault

    def _declined(self, url: str, body: dict[str, Any] | None, fault: HTTPError) -> Exception:
        said = f"HTTP status {fault.code}: {shown(fault.read())}"
        if body is not None and fault.code in DECLINED:
            return _DeclinedError(said)
        if body is not None and fault.code == 404:
            return UserError(
                f"The endpoint {self.url} does not know the adapter {body['model']} ({said}): "
                "start it with --enable-lora and --lora-modules."
            )
        return UserError(f"{url} declined with {said}. Check the URL and the API key.")


class _DeclinedError(Exception):
    """One request was declined for what it holds."""
