import dataclasses
from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deeplense.config import SplitConfig
from deeplense.data.imageset import ImageSet
from deeplense.data.split import PARTS, check_split, read_split, split_images, write_split
from deeplense.errors import InputError


def image_set(hashes, labels, parts=None, classes=("no_sub", "sub")):
    return ImageSet(
        pixels=np.zeros((len(hashes), 1, 8, 8), np.uint8),
        labels=np.array(labels, dtype=np.int64),
        classes=classes,
        paths=[f"{label}/{index}" for index, label in enumerate(labels)],
        hashes=list(hashes),
        parts=parts,
    )


def parts_by_hash(images, split):
    return {images.hashes[index]: part for part in PARTS for index in split.part(part)}


def test_fractions_are_exact_in_each_class():
    images = image_set([f"h{i}" for i in range(1000)], [int(i >= 600) for i in range(1000)])
    split = split_images(images, SplitConfig())
    for part, share in (("train", 0.7), ("val", 0.1), ("test", 0.2)):
        counts = Counter(images.labels[split.part(part)].tolist())
        assert counts == {0: round(600 * share), 1: round(400 * share)}
    assert sorted(np.concatenate([split.train, split.val, split.test])) == list(range(1000))


@settings(max_examples=100, deadline=None)
@given(
    copies=st.lists(st.integers(1, 4), min_size=30, max_size=80),
    seed=st.integers(0, 5),
    order=st.randoms(use_true_random=False),
)
def test_the_split_is_a_property_of_the_content(copies, seed, order):
    """Copies stay together, and neither names nor order matter."""
    rows = [(f"h{i}", i % 2) for i, times in enumerate(copies) for _ in range(times)]
    images = image_set(*zip(*rows, strict=True))
    config = SplitConfig(split_seed=seed)
    split = split_images(images, config)
    for sha256 in set(images.hashes):
        where = {part for part in PARTS for i in split.part(part) if images.hashes[i] == sha256}
        assert len(where) == 1
    order.shuffle(rows)
    shuffled = image_set(*zip(*rows, strict=True))
    shuffled = dataclasses.replace(shuffled, paths=[f"renamed/{i}" for i in range(len(rows))])
    assert parts_by_hash(shuffled, split_images(shuffled, config)) == parts_by_hash(images, split)


def test_another_seed_is_another_split():
    images = image_set([f"h{i}" for i in range(200)], [i % 2 for i in range(200)])
    one, other = (split_images(images, SplitConfig(split_seed=seed)) for seed in (0, 1))
    assert parts_by_hash(images, one) != parts_by_hash(images, other)


def test_given_parts_are_kept_and_the_test_part_comes_out_of_val():
    parts = ["train"] * 60 + ["val"] * 60
    images = image_set([f"h{i}" for i in range(120)], [i % 2 for i in range(120)], parts)
    split = split_images(images, SplitConfig(val_fraction=0.1, test_fraction=0.2))
    assert split.train.tolist() == list(range(60))
    assert (len(split.val), len(split.test)) == (20, 40)
    parts = ["train"] * 60 + ["val"] * 30 + ["test"] * 30
    split = split_images(dataclasses.replace(images, parts=parts), SplitConfig())
    assert split.val.tolist() == list(range(60, 90))
    assert split.test.tolist() == list(range(90, 120))


def test_copies_across_given_parts_go_to_training(capsys):
    hashes = [f"h{i}" for i in range(40)]
    hashes[39], hashes[38] = hashes[1], hashes[0]
    images = image_set(hashes, [i % 2 for i in range(40)], ["train"] * 20 + ["val"] * 20)
    split = split_images(images, SplitConfig())
    assert {38, 39} <= set(split.train)
    assert "2 images have exact copies in another of the folders" in capsys.readouterr().err


def test_copies_with_two_labels_are_listed():
    images = image_set(["a", "b", "c", "b", "a", "d"], [0, 0, 0, 1, 0, 1])
    with pytest.raises(InputError, match="1 images are exact copies with two labels: 0/1 = 1/3: remove"):
        split_images(images, SplitConfig())


def test_too_few_images_name_the_class_and_the_part():
    images = image_set([f"h{i}" for i in range(12)], [0] * 10 + [1] * 2)
    with pytest.raises(InputError, match=r"the 2 images of class sub are too few, none is left for the .* part"):
        split_images(images, SplitConfig())


def test_without_test_and_validation_all_is_for_training():
    images = image_set([f"h{i}" for i in range(12)], [i % 2 for i in range(12)])
    split = split_images(images, SplitConfig(val_fraction=0, test_fraction=0))
    assert (len(split.train), len(split.val), len(split.test)) == (12, 0, 0)


def test_the_file_says_it_all(tmp_path):
    images = image_set([f"h{i}" for i in range(50)], [i % 2 for i in range(50)])
    split = split_images(images, SplitConfig())
    write_split(tmp_path / "split.csv", images, split)
    rows = read_split(tmp_path / "split.csv")
    assert {row["sha256"]: row["split"] for row in rows} == parts_by_hash(images, split)
    assert [row["path"] for row in rows] == images.paths
    assert {row["class"] for row in rows} == {"no_sub", "sub"}
    check_split(tmp_path / "split.csv", images, split)
    other = split_images(images, SplitConfig(split_seed=1))
    with pytest.raises(InputError, match=r"the images are split otherwise than in .*split\.csv"):
        check_split(tmp_path / "split.csv", images, other)
    (tmp_path / "split.csv").write_text("a,b\n1,2\n")
    with pytest.raises(InputError, match=r"split\.csv is damaged"):
        read_split(tmp_path / "split.csv")
