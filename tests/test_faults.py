"""The fault campaign, in short; ``python tests/fault_campaign.py`` is the long form."""

import sys

import pytest
from fault_campaign import Campaign

KINDS = (
    "worker killed (SIGKILL)",
    "runner killed (SIGKILL)",
    "worker frozen, runner asked to stop twice",
    "checkpoint: bit flipped",
    "record truncated",
)


@pytest.mark.skipif(sys.platform != "linux", reason="finds worker processes in /proc")
def test_a_disturbed_study_has_the_bits_of_an_undisturbed_one(undisturbed, tmp_path):
    campaign = Campaign(tmp_path / "study", undisturbed, tmp_path, seed=1, early=0)
    try:
        for kind in KINDS:
            assert any(campaign.inject(kind) for _ in range(3)), f"no chance for: {kind}"
        campaign.close_round()
    finally:
        campaign.end()
    assert campaign.survived.total() == len(KINDS)
    assert not campaign.lost and not campaign.differing
