"""The page of the demo: one HTML file with everything in it.

In this file: how the bundle, the data that the user fetched, and the parts of the page beside this
file (HTML, style, scripts) become one text.  The scripts stand in one scope, in the order of
``SCRIPTS``; what each mirrors is said in it.
"""

from __future__ import annotations

import base64
import json
import re
from html import escape
from importlib import resources

import numpy as np
from jinja2 import Environment, StrictUndefined
from safetensors.torch import save

from paragon.backbones import BACKBONES
from paragon.data.registry import REGISTRY
from paragon.data.sequences import Sequences
from paragon.errors import ParagonError
from paragon_study.demo.bundle import METHODS, STEPS, Bundle, bias_at, denoising_steps
from paragon_study.report.style import look

SCRIPTS = ("tensors", "generator", "adapter", "rivals", "recommender", "front", "page")
MOST_BYTES = 5 * 1000 * 1000
_LIGHT_ENOUGH = 0.2  # relative luminance of a colour that is seen on a dark page
ABOUT = {
    "generated": "Scored through an adapter that is generated for these weights, here and now.",
    "generated_xquad": "A generated adapter's list, or the backbone's, re-ranked by xQuAD.",
    "xquad": "The backbone's list, re-ranked: an item gains by categories that are still missing.",
    "mmr": "The backbone's list, re-ranked: an item gains by its distance to those above it.",
    "category_bias": "The backbone's scores, plus a tuned number for each category of the item.",
    "backbone": "The recommender as it was trained, for accuracy. It does not use the weights.",
}


def build_page(bundle: Bundle, sequences: Sequences) -> str:
    """The page as HTML, from a bundle and the data that it was made with.

    Raises ``ParagonError`` for a page of more than 5 MB.
    """
    template = Environment(undefined=StrictUndefined, trim_blocks=True).from_string(
        _part("page.html.j2")
    )
    dataset, about = sequences.description["dataset"], bundle.description
    own = [t.numel() for name, t in bundle.tensors.items() if name.startswith("generator.")]
    page = template.render(
        style=_colours() + _part("page.css"),
        script="\n".join(_part(f"{name}.js") for name in SCRIPTS),
        data=json.dumps(_data(bundle, sequences), separators=(",", ":")).replace("<", "\\u003c"),
        bundle=base64.b64encode(save(bundle.tensors)).decode(),
        dataset=escape(
            REGISTRY[dataset].title.partition(":")[0] if dataset in REGISTRY else dataset
        ),
        backbone=BACKBONES[about["backbone"]].__name__,
        items=f"{sequences.n_items:,}",
        users=f"{len(sequences.test):,}",
        seed=about["generator"]["seed"],
        parameters=f"{sum(own):,}",
        biases=len(bundle.tensors["bias"]),
    )
    size = len(page.encode())
    if size > MOST_BYTES:
        raise ParagonError(
            f"the demo would have {size / 1e6:.1f} MB, more than {MOST_BYTES / 1e6:g}: "
            "this dataset is too large for a page"
        )
    return page


def _part(name: str) -> str:
    """A part of the page, from its file beside this one."""
    return resources.files("paragon_study.demo").joinpath(name).read_text(encoding="utf-8")


def _data(bundle: Bundle, sequences: Sequences) -> dict:
    """What the scripts read as `data`: names and histories, and the looks of the methods."""
    test, start = sequences.test, sequences.offsets[sequences.test.users]  # [N]
    ends = start + test.positions  # of each history
    events = [sequences.items[a:b].tolist() for a, b in zip(start, ends, strict=True)]
    sets = [np.flatnonzero(row).tolist() for row in sequences.categories]
    return {
        "about": bundle.description,
        "steps": denoising_steps(bundle.generator),
        "biases": [bias_at(bundle.tensors["bias"], step).tolist() for step in range(STEPS + 1)],
        "methods": [_look(name) for name in METHODS],
        "users": [sequences.user_ids[user] for user in test.users],
        "histories": events,
        "targets": test.targets.tolist(),
        "titles": ["", *map(_in_words, sequences.titles)],
        "categories": sequences.category_names,
        "sets": sets,
    }


def _in_words(title: str) -> str:
    """A title that was turned round for sorting, as one says it: "Mask, The" is The Mask."""
    return re.sub(r"^(.*), (The|A|An)$", r"\2 \1", title)


def _look(name: str) -> dict:
    """How a method looks in every figure; ``dash`` in the units of SVG."""
    method = look(name)
    _, dashes = method.line if isinstance(method.line, tuple) else (0, ())
    dash = " ".join(f"{3 * length:g}" for length in dashes) or "none"
    return {
        "name": name, "label": method.label, "about": ABOUT[name],
        "marker": method.marker, "dash": dash,
    }  # fmt: skip


def _colours() -> str:
    """The colours of the methods as CSS variables; on a dark page the dark ones are lighter."""
    light = "".join(f"--{name}: {look(name).colour}; " for name in METHODS)
    dark = "".join(f"--{name}: {_lightened(look(name).colour)}; " for name in METHODS)
    return f":root {{ {light}}}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark}}} }}\n"


def _lightened(colour: str) -> str:
    """``#rrggbb`` mixed with as much white as it needs to be seen on a dark page."""
    own = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    for white in np.arange(0, 1, 0.05):
        mixed = own + white * (1 - own)
        if (mixed**2.2) @ (0.2126, 0.7152, 0.0722) >= _LIGHT_ENOUGH:  # relative luminance
            break
    return "#" + "".join(f"{round(255 * channel):02x}" for channel in mixed)
