"""A generator for another recommender: moved with the adapters that it makes.

A generated adapter is a linear function of its latent, and the map of adapters is linear too.  So
the mean and the directions of the latent space are moved, and the diffusion model stays as it is.
See :mod:`paragon.adapters.transport`.
"""

from __future__ import annotations

import copy
import dataclasses

from paragon.adapters.transport import ItemSpace, Transport, fit_transport
from paragon.backbones import Backbone
from paragon.errors import ParagonError
from paragon.generator.generator import Generator
from paragon.generator.latent import Latent
from paragon.serving.items import Items


def fit_between(old: Backbone, old_items: Items, new: Backbone, new_items: Items) -> Transport:
    """The map from one recommender's adapters to another's.

    Raises ``ParagonError`` for other categories, and as
    :func:`~paragon.adapters.transport.fit_transport` does.
    """
    names = old_items.category_names, new_items.category_names
    if names[0] != names[1]:
        changed = sorted({*names[0]} ^ {*names[1]}) or ["their order"]
        raise ParagonError(
            f"categories differ between the recommenders: {', '.join(changed[:5])}; adapters say "
            "how much of each category is liked, so both need the same"
        )
    return fit_transport(
        ItemSpace(old_items.ids, old.item_vectors(), old_items.popularity),
        ItemSpace(new_items.ids, new.item_vectors(), new_items.popularity),
    )


def move_generator(generator: Generator, transport: Transport) -> Generator:
    """A generator whose adapters are moved: what it makes is what moving would make of it."""
    latent, old = generator.model.latent, generator.form
    model, device = copy.deepcopy(generator.model), latent.mean.device
    mean, basis = (transport.vectors(v.cpu(), old) for v in (latent.mean, latent.basis))
    model.latent = Latent(mean, basis, latent.scale.item()).to(device)
    collection = generator.description["collection"] | {
        "form": dataclasses.asdict(transport.form(old)),
        "moved": transport.description,
    }
    return Generator(model, generator.description | {"collection": collection})
