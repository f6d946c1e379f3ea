"""The pool of random ids."""

import re

from cmw_agent.core.random_ids import POOL_BYTES, RandomIdPool


def test_names_have_their_length_and_never_come_twice() -> None:
    names, others = RandomIdPool(), RandomIdPool()
    made = [names.hex(16) for _ in range(POOL_BYTES)] + [others.hex(16) for _ in range(POOL_BYTES)]
    assert all(re.fullmatch("[0-9a-f]{32}", name) for name in made)
    assert len(set(made)) == len(made)
    # nor does a part of one, as it would where two draws overlapped
    assert len({name[:16] for name in made} | {name[16:] for name in made}) == 2 * len(made)


def test_lengths_may_change_and_be_more_than_is_drawn_at_a_time() -> None:
    names = RandomIdPool()
    for length in (1, POOL_BYTES - 2, 5, POOL_BYTES + 1, 16):
        assert len(names.hex(length)) == 2 * length
