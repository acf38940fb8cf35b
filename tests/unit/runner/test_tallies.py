"""What a runner counted is told once, under whichever id it has."""

from __future__ import annotations

from flowgres_runner.work.tallies import Tallies


def test_what_was_told_under_an_earlier_id_is_not_told_again() -> None:
    counts = {"leases_rescued": 3}
    tallies = Tallies(lambda: counts)
    assert tallies.tell() == {"leases_rescued": 3}
    # Nobody heard of the fourth under the first id.
    counts["leases_rescued"] = 4
    tallies.begin_anew()
    assert tallies.tell() == {"leases_rescued": 1}
    counts["leases_rescued"] = 9
    assert tallies.tell() == {"leases_rescued": 6}
    tallies.begin_anew()
    assert tallies.tell() == {"leases_rescued": 0}
