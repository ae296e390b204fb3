"""Texts that people write and whose numbers are computed: the Jinja2 templates of the package."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def span(values: Iterable[float], digits: int = 2, scale: float = 1) -> str:
    """The smallest and the largest value, times ``scale``."""
    values = list(values)
    ends = (f"{scale * value:.{digits}f}" for value in (min(values), max(values)))
    return " to ".join(dict.fromkeys(ends))


def percent(values: float | Iterable[float], digits: int = 1) -> str:
    """A share, or the span of several, in per cent."""
    return f"{span(values if isinstance(values, Iterable) else [values], digits, 100)} %"


def signed(values: Iterable[float], digits: int = 4) -> str:
    """The smallest and the largest value, each with its sign; 0 has a plus."""
    values = list(values)
    ends = (f"{round(value, digits) + 0.0:+.{digits}f}" for value in (min(values), max(values)))
    return " to ".join(dict.fromkeys(ends))


def ordinal(number: float) -> str:
    """First, second, third ..., in a sentence."""
    words = "first second third fourth fifth sixth seventh eighth ninth tenth".split()
    if 1 <= number <= len(words):
        return words[int(number) - 1]
    last = {1: "st", 2: "nd", 3: "rd"}.get(int(number) % 10, "th")
    return f"{number:g}{'th' if number % 100 in (11, 12, 13) else last}"


def listed(studies: Iterable[str]) -> str:
    """Studies "dataset, backbone" in a sentence, the backbones of a dataset together."""
    datasets: dict[str, list[str]] = {}
    for name in sorted(studies):
        dataset, _, backbone = name.partition(", ")
        datasets.setdefault(dataset, []).append(backbone)
    return "; ".join(f"{d} with {', '.join(names)}" for d, names in datasets.items()) or "none"


def _environment() -> Environment:
    environment = Environment(
        loader=ChoiceLoader(
            [
                PackageLoader(f"paragon_study.{name}", "")
                for name in ("report", "checking", "running")
            ]
        ),
        autoescape=lambda name: name is not None and ".html" in name,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        function.__name__: function for function in (span, percent, listed, ordinal, signed)
    }
    return environment


def fill_template(name: str, values: Mapping[str, Any], block: str | None = None) -> str:
    """A template with its values, or one block of it."""
    template = _environment().get_template(name)
    if block is None:
        return template.render(values)
    return "".join(template.blocks[block](template.new_context(dict(values)))).strip()
