"""What several sections of params.yaml say together is checked before anything is trained.

``tests/bad_inputs/params.yaml`` has what is refused.
"""

from paragon.params import load_params
from paragon_study.pipeline.settings import check_all, check_settings


def test_the_settings_of_every_study_that_can_be_added_go_together():
    special = load_params().special
    backbones = [name for name in special if not name.startswith("ml-")]
    for dataset in set(special) - set(backbones):
        for backbone in backbones:
            check_settings(load_params(dataset=dataset, backbone=backbone), "params.yaml")
    check_all()
