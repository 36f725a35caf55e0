"""Rewords suggestions by a language model. Off unless a ``Rewording`` is given.

The model is any endpoint with OpenAI's interface of chat completions. It gets the text of the
suggestion only: no units, no events, no definition. Its answer is accepted if it has the same
numbers, verdicts and negations as the original; otherwise only the original is shown.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import Any

import attrs
import requests

from bytelyst_sync.experiments.results import Results, Suggestion

__all__ = ["Rewording", "objection"]

_NUMBER = re.compile(r"[+\-−]?\d+(?:[.,]\d+)*(?:e[+\-]?\d+)?\s?%?", re.IGNORECASE)
_VERDICTS = {
    *("winner", "loser", "no effect", "mismatch", "incomplete", "harms", "silent", "corrected"),
    *("excluded", "ship", "stop", "wait", "keep", "significant", "proven", "certain"),
}
"""Words that state a decision: an answer must have those that the original has, and no others."""
_DENIALS = re.compile(r"\b(?:not|no|never|none|neither|nor|without|cannot|\w+n't)\b", re.IGNORECASE)
_SPELLED = re.compile(
    r"\b(?:zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|dozen|twenty|thirty|"
    r"forty|fifty|sixty|seventy|eighty|ninety|hundred|thousand|million|half|third|quarter|twice|"
    r"double[sd]?|triple[sd]?|percent)\b",
    re.IGNORECASE,
)
_LONGEST = 2_000
_PROMPT = (
    "Reword this advice on an A/B test for a reader who is no statistician. Keep every number as it"
    " is written and every verdict, add none, and answer with the reworded text only."
)


def objection(original: str, answer: str) -> str | None:
    """Why an answer is rejected; ``None`` if it is accepted."""
    if not answer.strip() or len(answer) > _LONGEST:
        return "the answer is empty or too long"
    if _numbers(answer) != _numbers(original):
        return "a number was changed, added or left out"
    if _spelled(answer) - _spelled(original):
        return "a number in words was added"
    for word in sorted(_VERDICTS):
        if _has(answer, word) != _has(original, word):
            return f"a verdict was changed: {word!r}"
    if _denials(answer) != _denials(original):
        return "a denial was added or left out"
    return None


def _numbers(text: str) -> Counter[str]:
    found = (each.replace(" ", "").replace("−", "-") for each in _NUMBER.findall(text))
    return Counter(each.rstrip(".,") for each in found)


def _spelled(text: str) -> Counter[str]:
    return Counter(each.lower() for each in _SPELLED.findall(text))


def _has(text: str, word: str) -> bool:
    return re.search(rf"\b{word}\b", text, re.IGNORECASE) is not None


def _denials(text: str) -> int:
    return len(_DENIALS.findall(text))


@attrs.frozen
class Rewording:
    """The language model. ``endpoint``: its URL without ``/chat/completions``, such as
    ``http://localhost:11434/v1``. ``timeout``: seconds to wait for an answer.
    """

    endpoint: str
    model: str
    api_key: str | None = attrs.field(default=None, repr=False)
    timeout: float = 30.0

    def reword(self, results: Results) -> Results:
        """The results; each suggestion also has the model's text, or why there is none."""
        return attrs.evolve(
            results, suggestions=tuple(self._reworded(each) for each in results.suggestions)
        )

    def _reworded(self, suggestion: Suggestion) -> Suggestion:
        original = f"{suggestion.text} {suggestion.next_step}"
        try:
            answer = self._ask(original)
        except (requests.RequestException, ValueError, LookupError, TypeError) as error:
            # the text of a foreign exception may quote the URL and the key
            return attrs.evolve(suggestion, rejected=f"no answer: {type(error).__name__}")
        reason = objection(original, answer)
        if reason is not None:
            return attrs.evolve(suggestion, rejected=reason)
        return attrs.evolve(suggestion, reworded=answer.strip())

    def _ask(self, text: str) -> str:
        messages = [{"role": "system", "content": _PROMPT}, {"role": "user", "content": text}]
        headers = {} if self.api_key is None else {"Authorization": f"Bearer {self.api_key}"}
        answer = requests.post(
            f"{self.endpoint.rstrip('/')}/chat/completions",
            json={"model": self.model, "messages": messages, "temperature": 0},
            headers=headers,
            timeout=self.timeout,
            allow_redirects=False,
        )
        answer.raise_for_status()
        if answer.status_code != 200:
            raise ValueError(answer.status_code)
        found: Any = answer.json()["choices"][0]["message"]["content"]
        return str(found)
