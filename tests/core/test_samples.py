"""The images under audit: layouts, the draw, what is refused, and the npz adapter."""

from __future__ import annotations

import numpy as np
import pytest
from auditor_plugins.npz import Npz
from hypothesis import given, settings
from hypothesis import strategies as st

from auditor.errors import ExitStatus, LoadError
from auditor.subject.samples import Images, Samples, choose_samples

LABELS = np.arange(6) % 3


def pixels(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)


def everything(x: np.ndarray, y: np.ndarray = LABELS) -> Samples:
    return choose_samples(Images(x, y, source="set"), None, 0)


@pytest.mark.parametrize(
    ("shape", "axes"),
    [
        ((6, 8, 9), None),
        ((6, 8, 9, 1), (0, 3, 1, 2)),
        ((6, 8, 9, 3), (0, 3, 1, 2)),
        ((6, 8, 9, 4), (0, 3, 1, 2)),
        ((6, 1, 8, 9), (0, 1, 2, 3)),
        ((6, 3, 8, 9), (0, 1, 2, 3)),
        ((6, 13, 8, 8), (0, 1, 2, 3)),
        ((6, 8, 8, 13), (0, 3, 1, 2)),
        ((6, 6, 8, 9), (0, 1, 2, 3)),
        ((6, 8, 9, 6), (0, 3, 1, 2)),
        ((6, 5, 5, 5), (0, 1, 2, 3)),
        ((6, 2, 8, 9), (0, 1, 2, 3)),
    ],
)
@pytest.mark.parametrize("kind", [np.uint8, np.float32, np.float64, np.float16])
def test_every_layout_is_read_as_channels_height_width_in_the_unit_interval(shape, axes, kind):
    whole = pixels(*shape)
    x = whole if kind == np.uint8 else (whole / 255).astype(kind)
    expected = whole[:, None] if axes is None else whole.transpose(axes)
    samples = everything(x)
    assert samples.shape == expected.shape[1:]
    got = samples.read(slice(1, 4))
    assert got.dtype == np.float64
    tolerance = {np.float16: 5e-4, np.float32: 1e-7}.get(kind, 1e-15)
    np.testing.assert_allclose(got, expected[1:4] / 255, rtol=0, atol=tolerance)


def test_the_layout_of_the_file_does_not_change_the_hash_and_content_does():
    x = pixels(6, 8, 9, 3)
    first = everything(x).sha256
    assert everything(x.transpose(0, 3, 1, 2)).sha256 == first
    assert everything(x / 255).sha256 == first
    other = x.copy()
    other[3, 4, 5, 1] ^= 1
    assert everything(other).sha256 != first
    assert everything(x, (LABELS + 1) % 3).sha256 != first
    assert choose_samples(Images(x, LABELS), 5, 0).sha256 != first


@given(
    st.lists(st.integers(0, 5), min_size=12, max_size=80),
    st.integers(1, 12),
    st.integers(0, 2**31),
)
@settings(deadline=None, derandomize=True, max_examples=80)
def test_a_draw_is_balanced_as_far_as_the_classes_reach(labels, count, seed):
    y = np.array([0, 1, *labels])
    images = Images(np.zeros((len(y), 2, 2), np.uint8), y)
    samples = choose_samples(images, count, seed, "balanced")
    assert samples.draw == ("balanced" if count < len(y) else "all")
    assert len(samples) == count
    assert len(set(samples.index.tolist())) == count
    assert (np.diff(samples.index) > 0).all(), "in the order of the set"
    np.testing.assert_array_equal(samples.labels, y[samples.index])
    drawn, available = np.bincount(samples.labels, minlength=6), np.bincount(y, minlength=6)
    # A class may only have fewer than another, by more than one, if it has been used up.
    for less in range(6):
        if drawn[less] < available[less]:
            assert drawn[less] >= drawn.max() - 1


def test_equal_classes_are_drawn_in_exactly_equal_numbers():
    y = np.random.default_rng(0).permutation(np.repeat(np.arange(10), 50))
    samples = choose_samples(Images(np.zeros((500, 2, 2), np.uint8), y), 100, 3, "balanced")
    assert np.bincount(samples.labels).tolist() == [10] * 10


def test_a_uniform_draw_has_the_classes_of_the_set():
    """Of 950 : 50 it draws the rare class in a twentieth of the places, and each image alike."""
    y = np.r_[np.zeros(950, int), np.ones(50, int)]
    images = Images(np.zeros((1000, 2, 2), np.uint8), y)
    draws = [choose_samples(images, 100, seed) for seed in range(40)]
    assert {samples.draw for samples in draws} == {"uniform"}
    rare = sum(int(samples.labels.sum()) for samples in draws)
    assert 160 <= rare <= 240, "200 of 4,000, with a standard deviation of 13"


def test_a_draw_depends_on_the_seed_alone():
    y = np.arange(300) % 3
    images = Images(np.zeros((300, 2, 2), np.uint8), y)
    draws = [choose_samples(images, 60, seed).index.tolist() for seed in (0, 0, 1)]
    assert draws[0] == draws[1]
    assert draws[0] != draws[2]


def test_a_larger_draw_contains_the_smaller_one():
    """So that raising `samples` re-uses what has been measured."""
    y = np.random.default_rng(1).integers(0, 4, 200)
    images = Images(np.zeros((200, 2, 2), np.uint8), y)
    small, large = (set(choose_samples(images, n, 0).index.tolist()) for n in (40, 90))
    assert small < large


def test_all_images_keep_their_positions_as_ids():
    assert everything(pixels(6, 4, 4)).index.tolist() == list(range(6))


def test_images_are_read_in_pieces_only():
    """An adapter may stand for more images than fit into memory."""

    class Lazy:
        shape, dtype = (1000, 4, 4), np.dtype(np.uint8)

        def __init__(self):
            self.largest = 0

        def __len__(self):
            return 1000

        def __getitem__(self, index):
            assert isinstance(index, np.ndarray)
            assert index.dtype == np.int64
            self.largest = max(self.largest, len(index))
            return np.zeros((len(index), 4, 4), np.uint8)

    lazy = Lazy()
    samples = choose_samples(Images(lazy, np.arange(1000) % 2), 10, 0)
    assert samples.read(slice(0, 5)).shape == (5, 1, 4, 4)
    assert lazy.largest <= 10


def test_classes_without_a_name_are_called_by_their_number():
    samples = choose_samples(Images(pixels(6, 4, 4), LABELS, ("cat", "dog")), None, 0)
    assert [samples.class_name(label) for label in range(3)] == ["cat", "dog", "2"]


GOOD = pixels(6, 4, 4)


@pytest.mark.parametrize(
    ("x", "y", "words"),
    [
        (GOOD[:0], LABELS[:0], "empty"),
        (GOOD[:, 0], LABELS, "shape"),
        (pixels(6, 4), LABELS, r"reshape\(-1, 2, 2\)"),
        (pixels(6, 3 * 4), LABELS, r"reshape\(-1, 3, 2, 2\)"),
        (GOOD.astype(np.int64), LABELS, "int64"),
        (GOOD.astype(bool), LABELS, "bool"),
        (GOOD.astype(np.int64) * 1000, LABELS, "65535"),
        (GOOD.astype(np.uint16) * 257, LABELS, "65535"),
        (GOOD.astype(np.float32), LABELS, "255"),
        (GOOD.astype(np.float32) * 257, LABELS, "65535"),
        (GOOD / GOOD.max() * 1.02, LABELS, "clip"),
        (GOOD / 255 * 2 - 1, LABELS, "normalis"),
        (np.where(GOOD.max() == GOOD, np.nan, 0.5), LABELS, "finite"),
        (np.where(GOOD.max() == GOOD, np.inf, 0.5), LABELS, "finite"),
        (GOOD, LABELS[:5], "label"),
        (GOOD, np.eye(3, dtype=int)[LABELS], "argmax"),
        (GOOD, np.stack([LABELS, LABELS], 1), "a label per image"),
        (GOOD, LABELS.astype(float), "integer"),
        (GOOD, LABELS - 1, "-1"),
        (GOOD, np.full(6, 2), "same label"),
    ],
)
def test_sets_that_cannot_be_audited_are_refused_with_a_remedy(x, y, words):
    with pytest.raises(LoadError, match=words) as raised:
        everything(x, y)
    assert raised.value.exit_status == ExitStatus.LOAD
    assert raised.value.remedy
    assert raised.value.expected
    assert raised.value.where == "set"


@pytest.mark.parametrize("axis", [0, 1])
def test_labels_in_a_column_are_labels(axis):
    """As keras.datasets gives them; y.argmax(1) would make every label 0."""
    samples = everything(GOOD, np.expand_dims(LABELS, axis))
    np.testing.assert_array_equal(samples.labels, LABELS)
    (note,) = samples.notes
    assert "was read as one label per image, (6,)" in note


@pytest.mark.parametrize(
    ("kind", "outside"), [("float32", 6e-8), ("float64", 1e-6), ("float16", 1e-3)]
)
def test_a_rounding_error_outside_is_clipped_and_told(kind, outside):
    x = (GOOD / 255).astype(kind)
    x[0, 0, 0], x[3, 1, 2] = -outside, 1 + outside
    samples = everything(x)
    read = samples.read(slice(0, 6))
    assert (read.min(), read.max()) == (0, 1)
    (note,) = samples.notes
    assert note.startswith("2 values of pixels lay outside [0, 1] by at most ")
    assert everything(x.clip(0, 1)).sha256 == samples.sha256


def test_many_channels_are_told_with_their_axis():
    (note,) = everything(pixels(6, 13, 9, 9)).notes
    assert "13 channels of 9 × 9 pixels (N×C×H×W)" in note
    assert everything(pixels(6, 9, 9, 3)).notes == ()


class Random:
    """Images that are made when they are read; one in `every` is another one each time."""

    shape, dtype = (200, 4, 4), np.dtype(np.uint8)

    def __init__(self, every):
        self.every, self.made = every, np.random.default_rng(0)

    def __len__(self):
        return 200

    def __getitem__(self, index):
        x = np.zeros((len(index), 4, 4), np.uint8)
        x[index % self.every == 0, 0, 0] = self.made.integers(
            0, 256, (index % self.every == 0).sum()
        )
        return x


def test_a_set_that_changes_is_refused():
    y = np.arange(200) % 2
    with pytest.raises(LoadError, match="change each time they are read") as raised:
        choose_samples(Images(Random(3), y, source="set"), None, 0)
    assert "random transforms" in raised.value.remedy
    assert choose_samples(Images(Random(1000), y), 50, 0).notes == ()


def test_keys_follow_the_content_and_not_the_place():
    x, order = pixels(6, 4, 4), np.array([4, 0, 5, 2, 1, 3])
    keys = everything(x).keys
    assert (keys >= 0).all()
    assert len(set(keys.tolist())) == 6
    assert everything(x[order], LABELS[order]).keys.tolist() == keys[order].tolist()
    assert everything(x / 255).keys.tolist() == keys.tolist()


def test_copies_of_an_image_have_keys_of_their_own_whatever_their_order():
    x = pixels(6, 4, 4)
    x[[1, 3, 5]] = x[1]
    y = np.array([0, 1, 2, 1, 2, 0])  # two of the copies have the same label
    order = np.array([3, 5, 1, 0, 2, 4])
    keys, moved = everything(x, y).keys, everything(x[order], y[order]).keys
    assert len(set(keys.tolist())) == 6
    assert sorted(keys.tolist()) == sorted(moved.tolist())


def test_more_samples_than_images_are_refused():
    with pytest.raises(LoadError, match="7 samples are asked for, and the set has 6"):
        choose_samples(Images(GOOD, LABELS), 7, 0)


# npz


def test_npz_gives_images_labels_and_names(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, x=GOOD, y=LABELS, class_names=np.array(["a", "b", "c"]))
    images = Npz(str(path)).load()
    np.testing.assert_array_equal(images.x, GOOD)
    np.testing.assert_array_equal(images.y, LABELS)
    assert images.class_names == ("a", "b", "c")
    assert images.source == str(path)
    np.savez_compressed(path, x=GOOD, y=LABELS)
    assert Npz(str(path)).load().class_names == ()


class Bomb:
    def __reduce__(self):
        return (pytest.fail, ("a pickle was opened",))


@pytest.mark.parametrize("member", ["x", "y", "class_names"])
def test_npz_refuses_pickled_arrays_without_opening_them(tmp_path, member):
    path = tmp_path / "set.npz"
    bomb = np.empty(6, dtype=object)
    bomb[:] = [Bomb() for _ in range(6)]
    np.savez(path, allow_pickle=True, **{"x": GOOD, "y": LABELS, member: bomb})
    with pytest.raises(LoadError, match=f"The array {member} holds Python objects") as raised:
        Npz(str(path)).load()
    assert f"{member}=" in raised.value.remedy


def test_npz_names_of_bytes_are_text(tmp_path):
    path = tmp_path / "set.npz"
    np.savez(path, x=GOOD, y=LABELS, class_names=np.array(["a", "b", "ç"]))
    assert Npz(str(path)).load().class_names == ("a", "b", "ç")
    np.savez(path, x=GOOD, y=LABELS, class_names=np.array([b"a", "ç".encode(), b"c"]))
    assert Npz(str(path)).load().class_names == ("a", "ç", "c")
    np.savez(path, x=GOOD, y=LABELS, class_names=np.array("a"))
    with pytest.raises(LoadError, match=r"class_names has the shape \(\)"):
        Npz(str(path)).load()


def test_npz_refuses_a_pickle_under_any_name(tmp_path):
    import pickle

    for name in ("set.pkl", "set.npz"):
        path = tmp_path / name
        path.write_bytes(pickle.dumps(Bomb()))
        with pytest.raises(LoadError):
            Npz(str(path)).load()


@pytest.mark.parametrize("keys", [("x",), ("y",), ("images", "labels")])
def test_npz_names_the_missing_arrays_and_those_there_are(tmp_path, keys):
    path = tmp_path / "set.npz"
    np.savez(path, **dict.fromkeys(keys, LABELS))
    with pytest.raises(LoadError) as raised:
        Npz(str(path)).load()
    for name in {"x", "y"} - set(keys):
        assert f"no array {name}" in str(raised.value) or f"no {name}" in str(raised.value)
    for name in keys:
        assert f"'{name}'" in raised.value.remedy


@pytest.mark.parametrize("share", [0.0, 0.3, 0.6, 0.95])
def test_npz_refuses_a_truncated_file(tmp_path, share):
    path = tmp_path / "set.npz"
    np.savez(path, x=GOOD, y=LABELS)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(LoadError):
        Npz(str(path)).load()


@pytest.mark.parametrize("compressed", [False, True])
def test_npz_refuses_a_file_with_damaged_bytes(tmp_path, compressed):
    path = tmp_path / "set.npz"
    x = np.random.default_rng(0).integers(0, 256, (6, 40, 40), dtype=np.uint8)
    (np.savez_compressed if compressed else np.savez)(path, x=x, y=LABELS)
    damaged = bytearray(path.read_bytes())
    for place in range(2000, 2100):
        damaged[place] ^= 0xFF
    path.write_bytes(damaged)
    with pytest.raises(LoadError):
        Npz(str(path)).load()


def test_npz_refuses_a_single_array_and_a_file_that_is_not_there(tmp_path):
    path = tmp_path / "single.npy"
    np.save(path, GOOD)
    with pytest.raises(LoadError, match="single array"):
        Npz(str(path)).load()
    with pytest.raises(LoadError, match="does not exist"):
        Npz(str(tmp_path / "missing.npz")).load()
