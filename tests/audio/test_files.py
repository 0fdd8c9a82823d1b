"""A view of a file is read like a file that holds its bytes."""

from __future__ import annotations

import io

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pseudolabel.audio.files import View


@settings(max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_view_is_read_like_the_bytes_that_it_is_made_of(tmp_path, data):
    content = bytes(range(1, 251))
    (tmp_path / "file").write_bytes(content)
    spans, expected = [], bytearray()
    for _ in range(data.draw(st.integers(0, 4))):
        expected += bytes(data.draw(st.integers(0, 9)))  # a hole
        offset, length = data.draw(st.integers(0, 200)), data.draw(st.integers(1, 50))
        spans.append((len(expected), offset, length))
        expected += content[offset : offset + length]
    expected += bytes(data.draw(st.integers(0, 9)))
    corrections = []
    if expected:
        place = data.draw(st.integers(0, len(expected) - 1))
        corrections = [(place, b"\xff" * min(3, len(expected) - place))]
        expected[place : place + 3] = corrections[0][1]
    file = io.BytesIO(expected)
    with View(tmp_path / "file", len(expected), spans, corrections) as view:
        for _ in range(8):
            place, whence = data.draw(st.integers(0, len(expected) + 5)), data.draw(st.sampled_from([0, 2]))
            place = place if whence == 0 else -min(place, len(expected))
            assert view.seek(place, whence) == file.seek(place, whence)
            n = data.draw(st.integers(0, 60))
            assert view.read(n) == file.read(n)
            assert view.tell() == file.tell()
        start = data.draw(st.integers(0, len(expected)))
        if not corrections:
            with view.part(start, len(expected) - start) as part:
                assert part.read() == bytes(expected[start:])


def test_a_file_that_became_shorter_ends_there(tmp_path):
    (tmp_path / "file").write_bytes(b"abcdef")
    with View(tmp_path / "file", 10, [(0, 0, 10)]) as view:
        assert view.read() == b"abcdef"


def test_pieces_of_a_view_are_joined_in_their_order(tmp_path):
    (tmp_path / "a").write_bytes(b"0123456789")
    with View(tmp_path / "a", 8, [(0, 1, 3), (5, 7, 3)]) as view:  # 123, two zeros, 789
        joined = view.joined([(1, 3), (6, 2), (0, 1)], [(4, b"x")])
    with joined:
        assert joined.read() == b"23\x008x1"
