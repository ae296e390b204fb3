"""The demo of a study: its bundle from what the stages made, its page from the bundle."""

from __future__ import annotations

from pathlib import Path

from paragon.data.fetch import load_dataset
from paragon.data.split import prepare
from paragon.page.build import build_page
from paragon.page.bundle import load_bundle, make_bundle, save_bundle
from paragon.params import ARTIFACTS, DATA, ROOT, load_params
from paragon.storage import write_text
from paragon.study.study import open_study

BUNDLES = ROOT / "docs" / "demo"


def write_demo(
    target: Path | None = None,
    dataset: str | None = None,
    backbone: str | None = None,
    renew: bool = False,
) -> Path:
    """Build the page of a study from the data that was fetched and the study's bundle.

    ``target``: None for artifacts/demo.html; ``dataset``, ``backbone``: None for the first of
    params.yaml; ``renew``: make the bundle anew from what the stages made, with the same bytes if
    nothing has changed.  Returns the page's path.  Raises ``ParagonError`` if something is missing
    or does not belong together, and for a study that the page cannot show.
    """
    studies = load_params().studies
    dataset, backbone = dataset or studies.datasets[0], backbone or studies.backbones[0]
    target = ARTIFACTS / "demo.html" if target is None else target
    stem = BUNDLES / f"{dataset}-{backbone}"
    if renew:
        save_bundle(make_bundle(open_study(dataset, backbone).load_trained()), stem)
    rules = load_params(dataset=dataset, backbone=backbone).data
    sequences = prepare(load_dataset(dataset, DATA), **rules.model_dump())
    write_text(target, build_page(load_bundle(stem, sequences), sequences))
    return target
