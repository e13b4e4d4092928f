"""What fits into which GPU."""

import pytest

from model.published import GIB, PUBLISHED, WORKING_BYTES, Fit, fit

V1PLUS = PUBLISHED["videollm-online-8b-v1plus"]

CARDS = [
    (24, Fit("dtype", 8192)),
    (20, Fit("dtype", 8192)),
    (16, Fit("int8", 8192)),
    (12, Fit("int8", 8192)),
    (10, Fit("int4", 8192)),
    (8, Fit("int4", 4096)),
    (7.6, Fit("int4", 2048)),
    (7, None),
    (6, None),
    (0, None),
]


@pytest.mark.parametrize(("gigabytes", "expected"), CARDS)
def test_what_a_card_of_this_size_gets(gigabytes, expected):
    assert fit(V1PLUS, int(gigabytes * 0.97 * GIB)) == expected  # a part of it is the driver's own


@pytest.mark.parametrize("checkpoint", PUBLISHED.values(), ids=PUBLISHED.keys())
def test_what_is_chosen_leaves_room_to_work_in(checkpoint):
    for total_bytes in range(0, 30 * GIB, GIB // 8):
        found = fit(checkpoint, total_bytes)
        if found is not None:
            taken = checkpoint.memory_bytes[found.weights] + found.window_tokens * checkpoint.window_bytes
            assert taken + WORKING_BYTES <= total_bytes
            assert found.window_tokens <= checkpoint.max_window


def test_one_checkpoint_is_recommended():
    assert [one.name for one in PUBLISHED.values() if one.is_recommended] == [V1PLUS.name]
    assert all(len(set(one.parts)) == 3 and set(one.gated) <= set(one.parts) for one in PUBLISHED.values())
