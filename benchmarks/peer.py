"""RecTools' SASRec on the events of speed.py, which runs this with a Python that has RecTools.

``python peer.py FOLDER SETTINGS``: reads FOLDER/events.csv, trains on the rows of training, and
writes FOLDER/found.json: the median seconds of an epoch, and for every user the ten best items
that the user has not met.
"""

import json
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from pytorch_lightning import Callback, Trainer
from rectools.dataset import Dataset
from rectools.models import SASRecModel

folder = Path(sys.argv[1])
settings = json.loads(sys.argv[2])
torch.set_num_threads(settings["threads"])
torch.manual_seed(0)
taken: list[float] = []  # seconds of each epoch


class Clock(Callback):
    """Measure the seconds of each epoch of training."""

    def on_train_epoch_start(self, *_):
        """Start the clock before the first batch."""
        self.start = time.perf_counter()

    def on_train_epoch_end(self, *_):
        """Stop the clock after the last step."""
        taken.append(time.perf_counter() - self.start)


def trainer():
    """Return a trainer that writes no files and shows no bars."""
    return Trainer(
        max_epochs=settings["epochs"],
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        callbacks=[Clock()],
    )


events = pd.read_csv(folder / "events.csv", parse_dates=["datetime"]).assign(weight=1)
model = SASRecModel(
    n_blocks=settings["layers"],
    n_heads=settings["heads"],
    n_factors=settings["dim"],
    dropout_rate=settings["dropout"],
    session_max_len=settings["history"],
    batch_size=settings["batch"],
    lr=settings["learning_rate"],
    loss="softmax",
    get_trainer_func=trainer,
    recommend_torch_device="cpu",
)
train = Dataset.construct(events[events["train"]].drop(columns="train"))
model.fit(train)
known = events[events["item_id"].isin(train.item_id_map.external_ids)]
asked = Dataset.construct(known.drop(columns="train"))
found = model.recommend(
    users=asked.user_id_map.external_ids, dataset=asked, k=10, filter_viewed=True
)
lists = found.sort_values("rank").groupby("user_id")["item_id"].apply(list)
record = {
    "epoch": float(np.median(taken)),
    "lists": {int(u): list(map(int, i)) for u, i in lists.items()},
}
(folder / "found.json").write_text(json.dumps(record))
