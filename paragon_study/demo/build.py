"""Build the demo page: one HTML file that holds data, style and scripts."""

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
from paragon_study.demo.bundle import STEPS, Bundle, bias_at, denoising_steps
from paragon_study.report.style import look

SCRIPTS = ("tensors", "generator", "adapter", "rivals", "recommender", "front", "page")
MOST_BYTES = 5 * 1000 * 1000
ABOUT = {
    "generated": "Scored through an adapter that is generated for these weights, here and now.",
    "generated_xquad": "A generated adapter's list, or the backbone's, re-ranked by xQuAD.",
    "xquad": "The backbone's list, re-ranked: an item gains by categories that are still missing.",
    "mmr": "The backbone's list, re-ranked: an item gains by its distance to those above it.",
    "category_bias": "The backbone's scores, plus a tuned number for each category of the item.",
    "backbone": "The recommender as it was trained, for accuracy. It does not use the weights.",
}


def build_page(bundle: Bundle, sequences: Sequences) -> str:
    """Build the HTML page of a bundle and its data; raise ``ParagonError`` above 5 MB."""
    folder = resources.files("paragon_study.demo")
    parts = {part.name: part.read_text("utf-8") for part in folder.iterdir() if part.is_file()}
    template = Environment(undefined=StrictUndefined, trim_blocks=True)
    dataset, about = sequences.description["dataset"], bundle.description
    title = REGISTRY[dataset].title.partition(":")[0] if dataset in REGISTRY else dataset
    page = template.from_string(parts["page.html.j2"]).render(
        style=_colours() + parts["page.css"],
        script="\n".join(parts[f"{name}.js"] for name in SCRIPTS),
        data=json.dumps(_data(bundle, sequences), separators=(",", ":")).replace("<", "\\u003c"),
        bundle=base64.b64encode(save(bundle.tensors)).decode(),
        dataset=escape(title),
        backbone=BACKBONES[about["backbone"]].__name__,
        items=f"{sequences.n_items:,}",
        users=f"{len(sequences.test):,}",
        seed=about["generator"]["seed"],
        parameters=f"{sum(t.numel() for t in bundle.generator_tensors.values()):,}",
        biases=len(bundle.tensors["bias"]),
    )
    if len(page.encode()) > MOST_BYTES:
        raise ParagonError(
            f"the demo would have {len(page.encode()) / 1e6:.1f} MB, more than "
            f"{MOST_BYTES / 1e6:g}: this dataset is too large for a page"
        )
    return page


def _data(bundle: Bundle, sequences: Sequences) -> dict:
    """Return the `data` of the scripts: names, histories, and how methods are drawn."""
    test, start = sequences.test, sequences.offsets[sequences.test.users]  # [N]
    pasts = zip(start, start + test.positions, strict=True)
    # "Mask, The" becomes "The Mask".
    titles = [re.sub(r"^(.*), (The|A|An)$", r"\2 \1", title) for title in sequences.titles]
    methods = []
    for name, words in ABOUT.items():
        label, _, marker, line = look(name)
        dashes = line[1] if isinstance(line, tuple) else ()
        dash = " ".join(f"{3 * length:g}" for length in dashes) or "none"  # SVG units
        methods.append(
            {"name": name, "label": label, "about": words, "marker": marker, "dash": dash}
        )
    return {
        "about": bundle.description,
        "steps": denoising_steps(bundle.generator),
        "biases": [bias_at(bundle.tensors["bias"], step).tolist() for step in range(STEPS + 1)],
        "methods": methods,
        "users": [sequences.user_ids[user] for user in test.users],
        "histories": [sequences.items[a:b].tolist() for a, b in pasts],
        "targets": test.targets.tolist(),
        "titles": ["", *titles],
        "categories": sequences.category_names,
        "sets": [np.flatnonzero(row).tolist() for row in sequences.categories],
    }


def _colours() -> str:
    """Return the colours of the methods as CSS variables, lighter for dark pages."""
    light = "".join(f"--{name}: {look(name).colour}; " for name in ABOUT)
    mixes = {name: f"color-mix(in srgb, {look(name).colour} 65%, white)" for name in ABOUT}
    dark = "".join(f"--{name}: {mix}; " for name, mix in mixes.items())
    return f":root {{ {light}}}\n@media (prefers-color-scheme: dark) {{ :root {{ {dark}}} }}\n"
