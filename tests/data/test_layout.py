"""What names of folders and files mean."""

from pathlib import Path

import numpy as np
import pytest
from conftest import write_lenses
from PIL import Image

from deeplense.data.images import load_images
from deeplense.data.layout import understand
from deeplense.data.names import is_negative, ordered_classes, part_and_class, translated
from deeplense.data.opening import Opening
from deeplense.errors import InputError


def touch(folder: Path, *paths: str) -> Path:
    for path in paths:
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    return folder


def read(folder: Path, labelled: bool = True, **how) -> dict[str, tuple[str, str]]:
    return {item.path: (item.part, item.name) for item in understand(folder, labelled, **how).listed}


def refusal(folder: Path, labelled: bool = True, **how) -> str:
    with pytest.raises(InputError) as error:
        understand(folder, labelled, **how)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("train", ("train", "")),
        ("Training", ("train", "")),
        ("VALID", ("val", "")),
        ("validation", ("val", "")),
        ("train_lenses", ("train", "lenses")),
        ("nonlenses_test", ("test", "nonlenses")),
        ("test-No_Sub", ("test", "No_Sub")),
        ("Val lens", ("val", "lens")),
        ("trainLenses", ("train", "Lenses")),
        ("NonlensTest", ("test", "Nonlens")),
        ("Training_Set", ("train", "")),
        ("test images", ("test", "")),
        ("lens_train_set", ("train", "lens")),
        ("trained", ("", "trained")),
        ("testbed", ("", "testbed")),
        ("no_sub", ("", "no_sub")),
        ("contest_lenses", ("", "contest_lenses")),
    ],
)
def test_part_and_class_of_a_name(name, said):
    assert part_and_class(name) == said


@pytest.mark.parametrize(
    "pattern", ["{part}_{name}", "{name}_{part}", "{part}/{name}", "{name}/{part}", "{part}-{name}"]
)
@pytest.mark.parametrize(
    ("train", "test"), [("train", "test"), ("Train", "Test"), ("training", "testing"), ("TRAIN", "validation")]
)
def test_part_and_class_are_read_from_the_names(tmp_path, pattern, train, test):
    paths = [pattern.format(part=part, name=name) for part in (train, test) for name in ("lenses", "nonlenses")]
    found = read(touch(tmp_path, *(f"{path}/{index}.npy" for path in paths for index in range(3))))
    held_out = "val" if test == "validation" else "test"
    assert set(found.values()) == {(part, name) for part in ("train", held_out) for name in ("lenses", "nonlenses")}
    assert len(found) == 12
    (note,) = understand(tmp_path, True).notes
    assert note.startswith("by the names of the folders: train (3 lenses, 3 nonlenses)")


def test_layout_decides_what_could_be_meant_either_way(tmp_path):
    touch(tmp_path, *(f"{name}/0.npy" for name in ("train_lenses", "nonlenses")))
    assert set(read(tmp_path).values()) == {("", "train_lenses"), ("", "nonlenses")}
    assert "give --layout parts" in understand(tmp_path, True).notes[0]
    assert "nonlenses/0.npy is in no folder whose name says train" in refusal(tmp_path, layout="parts")
    whole = touch(tmp_path / "whole", *(f"{part}_{name}/0.npy" for part in ("train", "test") for name in ("a", "b")))
    assert {part for part, _ in read(whole).values()} == {"train", "test"}
    assert len(set(read(whole, layout="classes").values())) == 4


def test_an_image_of_no_part_beside_parts_is_refused(tmp_path):
    """Else it would end in any of them, or the whole division be lost."""
    touch(tmp_path, *(f"{part}/{name}/{index}.npy" for part in ("train", "test") for name in "xy" for index in "01"))
    assert {part for part, _ in read(tmp_path).values()} == {"train", "test"}
    touch(tmp_path, "a/0.npy", "b/0.npy")
    said = refusal(tmp_path)
    assert "a/0.npy is in no folder whose name says train, val or test: move it, or give --layout classes" in said


@pytest.mark.parametrize(
    "paths",
    [
        ("no_sub/0.png", "sub/0.png", "test/0.png"),
        ("train/0.png", "train/1.png", "test/0.png"),
        ("train_lenses/0.png", "train_nonlenses/0.png", "test/0.png"),
    ],
)
def test_a_part_without_classes_is_no_class(tmp_path, paths):
    said = refusal(touch(tmp_path, *paths))
    assert "is called like a part, and its images are in no class folders: put them in some, or move it away" in said
    assert len({name for _, name in read(tmp_path, layout="classes").values()}) == len({p.split("/")[0] for p in paths})


def test_parts_are_gone_down_into_where_nothing_is_to_be_learned(tmp_path):
    flat = touch(tmp_path / "flat", "test/0.png", "test/1.png")
    assert set(read(flat, labelled=False).values()) == {("", "")}
    both = touch(tmp_path / "both", "train/0.png", "test/1.png")
    assert set(read(both, labelled=False)) == {"train/0.png", "test/1.png"}
    held_out = touch(tmp_path / "held_out", "test/no_sub/0.png", "test/sub/0.png")
    assert set(read(held_out, labelled=False).values()) == {("test", "no_sub"), ("test", "sub")}


def test_numbered_parts_are_parts(tmp_path):
    names = ("lens_train_1", "nonlens_train_1", "lens_test_1", "nonlens_test_1", "lens_train_2")
    found = set(read(touch(tmp_path, *(f"{name}/0.png" for name in names))).values())
    assert found == {(part, name) for part in ("train", "test") for name in ("lens", "nonlens")}


def test_what_lies_in_a_flat_folder_and_is_no_image_is_named(tmp_path):
    touch(tmp_path, "a.png", "b.jxl", "c.jp2")
    (note,) = understand(tmp_path, False).notes
    assert note == "b.jxl, c.jp2 beside 1 images: of no format that is read"


def test_folders_without_end_are_refused_and_not_passed_over(tmp_path):
    touch(tmp_path, "sub/a/b/c/d/e/f/g/h/i/0.png", "no_sub/0.png")
    assert "lies more than 8 folders deep: give a folder further in" in refusal(tmp_path)


def test_two_spellings_in_two_parts_are_one_class(tmp_path):
    touch(tmp_path, "train/No_Sub/0.npy", "train/sub/0.npy", "val/no_sub/0.npy", "val/Sub/0.npy")
    assert {name for _, name in read(tmp_path).values()} == {"No_Sub", "sub"}
    touch(tmp_path, "val/axion/0.npy")
    assert "class axion has images for val and none for training (No_Sub, sub)" in refusal(tmp_path)


def test_an_archive_in_an_archive_is_gone_down_into(tmp_path):
    touch(tmp_path, "lenses/lenses/no_sub/0.png", "lenses/lenses/sub/0.png", "__MACOSX/lenses/._0.png", "docs/a.pdf")
    assert read(tmp_path) == {
        "lenses/lenses/no_sub/0.png": ("", "no_sub"),
        "lenses/lenses/sub/0.png": ("", "sub"),
    }
    assert f"the class folders are those in {tmp_path / 'lenses/lenses'}" in understand(tmp_path, True).notes[1]


def test_folders_without_images_are_named_as_what_they_are_not(tmp_path):
    touch(tmp_path, "no_sub/0.png", "sub/0.png", "docs/a.pdf", "__MACOSX/a")
    assert understand(tmp_path, True).notes == [f"{tmp_path / 'docs'} holds no images, and is taken for no class"]
    (tmp_path / "axion").mkdir()
    assert f"the class folder {tmp_path / 'axion'} holds no images" in refusal(tmp_path)


def test_documents_are_no_class_whatever_pictures_are_in_them(tmp_path):
    touch(tmp_path, "no_sub/0.png", "sub/0.png", "docs/sketch.png", "docs/a.pdf", "figures/roc.png")
    assert {name for _, name in read(tmp_path).values()} == {"no_sub", "sub"}
    notes = understand(tmp_path, True).notes
    assert notes[0] == (
        f"{tmp_path / 'docs'} is no class by its name, and its 1 images are not used; --layout classes takes it for one"
    )
    assert understand(tmp_path, True).unused == []
    assert {name for _, name in read(tmp_path, layout="classes").values()} == {"no_sub", "sub", "docs", "figures"}


def test_all_images_of_a_class_one_folder_deeper(tmp_path):
    touch(tmp_path / "a", *(f"{name}/images/{index}.png" for name in ("no_sub", "sub") for index in range(3)))
    assert set(read(tmp_path / "a").values()) == {("", "no_sub"), ("", "sub")}
    files = ("data.fits", "noise_map.fits", "psf.fits")
    lenses = [f"{name}/lens{index}/{file}" for name in ("no_sub", "sub") for index in range(3) for file in files]
    found = read(touch(tmp_path / "b", *lenses))
    assert set(found) == {path for path in lenses if path.endswith("data.fits")}
    assert found["sub/lens2/data.fits"] == ("", "sub")
    flat = touch(tmp_path / "c", *(f"lens{index}/{file}" for index in range(3) for file in files))
    assert set(read(flat, labelled=False)) == {f"lens{index}/data.fits" for index in range(3)}
    touch(tmp_path / "d", *(f"{survey}/{name}/0.png" for survey in ("hst", "euclid") for name in ("no_sub", "sub")))
    message = refusal(tmp_path / "d")
    assert "none of its 4 files is used" in message
    assert "euclid/no_sub/0.png lies in a folder within the class folder euclid" in message


def test_a_part_of_another_name_is_no_class(tmp_path):
    touch(tmp_path, *(f"{part}/{name}/0.npy" for part in ("train", "dev") for name in ("a", "b")))
    assert f"{tmp_path / 'dev'} holds classes, and its name does not say for which part" in refusal(tmp_path)


def test_what_is_not_used_is_counted_and_named(tmp_path, capsys):
    folder = write_lenses(tmp_path / "set", 4)
    (folder / "sub" / "notes.txt").touch()
    (folder / "sub" / "deeper").mkdir()
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(folder / "sub" / "deeper" / "a.png")
    Image.fromarray(np.zeros((40, 40), np.uint8)).save(folder / "loose.png")
    for hidden in (".DS_Store", "Thumbs.db"):
        (folder / "sub" / hidden).touch()
    with pytest.raises(InputError) as error:
        load_images(str(folder))
    assert str(error.value) == (
        f"--data {folder}: 3 files beside 8 images are not used: {folder}/loose.png lies in no class folder; "
        f"{folder}/sub/notes.txt is of no format that is read; {folder}/sub/deeper/a.png lies in a folder within the "
        "class folder sub: move them away, or leave them out with --bad-images skip"
    )
    assert len(load_images(str(folder), "skip")) == 8
    assert "warning: 3 files beside 8 images are not used" in capsys.readouterr().err


def test_a_flat_part_is_not_passed_over(tmp_path):
    touch(tmp_path, "train/a/0.npy", "train/b/0.npy", "val/a/0.npy", "val/b/0.npy", "test/0.npy")
    assert understand(tmp_path, True).unused == [("test/0.npy", "lies in no class folder")]


def test_companions_are_no_lenses(tmp_path):
    touch(tmp_path, "data.fits", "noise_map.fits", "psf.fits")
    assert list(read(tmp_path, labelled=False)) == ["data.fits"]
    several = touch(
        tmp_path / "several",
        *(f"lens{n}{kind}.fits" for n in (1, 2) for kind in ("", "_noise_map", "_psf", "-mask")),
        "psf_star.fits",
    )
    assert list(read(several, labelled=False)) == ["lens1.fits", "lens2.fits", "psf_star.fits"]
    swarp = touch(tmp_path / "swarp", "a.fits", "a.weight.fits", "a-rms.fits", "image_3.png", "mask_3.png", "psf_4.png")
    assert list(read(swarp, labelled=False)) == ["a.fits", "image_3.png", "psf_4.png"]
    alone = touch(tmp_path / "alone", "mask.fits")  # of nothing else: it is meant
    assert list(read(alone, labelled=False)) == ["mask.fits"]


def test_links_that_lead_back_end(tmp_path):
    touch(tmp_path, "no_sub/0.png", "sub/0.png")
    (tmp_path / "sub" / "back").symlink_to(tmp_path)
    assert len(read(tmp_path)) == 2


def test_one_file_a_band(tmp_path):
    names = [f"{band}/lens{n}.fits" for band in "gr" for n in (1, 2)]
    layout = understand(touch(tmp_path / "folders", *names), False, bands=("r", "g"))
    assert [(item.path, item.bands) for item in layout.listed] == [
        ("r/lens1.fits", ("g/lens1.fits",)),
        ("r/lens2.fits", ("g/lens2.fits",)),
    ]
    names = [f"{name}/lens_{band}_7.fits" for name in ("lens", "nonlens") for band in "gri"]
    layout = understand(touch(tmp_path / "names", *names, "lens/lens_g_8.fits", "lens/x.fits"), True, bands=("g", "i"))
    assert [item.bands for item in layout.listed] == [("lens/lens_i_7.fits",), ("nonlens/lens_i_7.fits",)]
    assert ("lens/lens_g_8.fits", "has no band i beside it") in layout.unused
    assert ("lens/x.fits", "is of none of the bands g i") in layout.unused


@pytest.mark.parametrize("pattern", ["{band}/{name}/lens1.fits", "{name}/{band}/lens1.fits"])
def test_folders_of_bands_above_and_below_those_of_classes(tmp_path, pattern):
    touch(tmp_path, *(pattern.format(band=band, name=name) for band in "gri" for name in ("lens", "nonlens")))
    layout = understand(tmp_path, True, bands=("g", "r", "i"))
    assert [(item.name, len(item.bands)) for item in layout.listed] == [("lens", 2), ("nonlens", 2)]
    assert layout.unused == []
    assert "none of its 6 files is used" in refusal(tmp_path)


def test_names_that_end_in_bands_are_mentioned(tmp_path):
    """Or each lens would count four times, and be torn across the parts of the split."""
    touch(tmp_path, *(f"{name}/a{n}_{band}.fits" for band in "zrig" for name in ("x", "y") for n in (1, 2)))
    (note,) = understand(tmp_path, True).notes
    assert note.startswith(
        "names of files end in g, r, i, z: each file is read as an image of its own; --bands g r i z"
    )
    assert len(understand(tmp_path, True, bands=("g", "r", "i", "z")).listed) == 4
    one_band = touch(tmp_path / "one", *(f"{name}/a{n}_F814W.fits" for name in ("x", "y") for n in (1, 2)))
    assert understand(one_band, True).notes == []


@pytest.mark.parametrize(
    ("names", "first"),
    [(("halo", "no halo"), "no halo"), (("lensed", "non lensed"), "non lensed"), (("lens", "random"), "random"),
     (("gravitational_lens", "non_gravitational_lens"), "non_gravitational_lens"), (("cdm", "wdm"), "cdm"),
     (("with_subhalo", "without_subhalo"), "without_subhalo"), (("with_arcs", "without_arcs"), "without_arcs"),
     (("lensed_qso", "unlensed_qso"), "unlensed_qso"), (("halo", "none"), "none"),
     (("mock_lens", "mock_nonlens"), "mock_nonlens"), (("nova", "uneven"), "nova")],
)  # fmt: skip
def test_the_class_without_what_the_other_has_is_label_0(names, first):
    assert ordered_classes(names)[0] == ordered_classes(names[::-1])[0] == first


@pytest.mark.parametrize(
    "name",
    ["no_sub", "No_Sub", "no", "NO", "smooth", "without_substructure", "nonlens", "non_lens", "Non-Lenses", "no_lens",
     "negatives", "nosub", "no substructure"],
)  # fmt: skip
def test_the_class_without_is_label_0(name):
    assert is_negative(name)
    assert ordered_classes([name, "a"]) == (name, "a")
    assert ordered_classes([name, "a"], positive=name) == ("a", name)


def test_positive_is_one_of_two():
    with pytest.raises(InputError, match="--positive c: the classes are a, b: give one of them"):
        ordered_classes(["a", "b"], "c")
    with pytest.raises(InputError, match="--positive a: there are 3 classes, and it is for two"):
        ordered_classes(["a", "b", "c"], "a")


def test_synonyms_and_a_map_name_the_classes_of_a_run():
    own = ("no_sub", "axion", "cdm")
    assert translated(["no_substructure", "subhalo", "vortex"], own, {}) == {
        "no_substructure": "no_sub",
        "subhalo": "cdm",
        "vortex": "axion",
    }
    assert translated(["no", "sphere", "vort"], own, {}) == {"no": "no_sub", "sphere": "cdm", "vort": "axion"}
    assert translated(["x", "sub"], own, {"x": "no_sub"}) == {"x": "no_sub", "sub": "cdm"}
    assert translated(["x", "no_sub"], own, {}) == {"x": None, "no_sub": "no_sub"}
    assert translated(["no_sub", "smooth"], own, {})["smooth"] is None  # two folders for one class
    assert translated(["negative", "positive"], ("no_sub", "sub"), {}) == {"negative": "no_sub", "positive": "sub"}
    assert translated(["positive"], own, {}) == {"positive": None}  # which of two?


# ---- a table of classes --------------------------------------------------------------------------------------------


@pytest.fixture
def flat(tmp_path) -> Path:
    """Ten images, and nothing that says what they are."""
    lenses = write_lenses(tmp_path / "lenses", 5)
    folder = tmp_path / "flat"
    folder.mkdir()
    for index, file in enumerate(sorted(lenses.rglob("*.png"))):
        file.rename(folder / f"cutout_{1000 + index}.png")
    return folder


@pytest.mark.parametrize("key", ["cutout_{}.png", "cutout_{}", "{}", "./cutout_{}.png"])
@pytest.mark.parametrize("header", ["path,class", "id,label", "ObjID,is_lens", "﻿filename,target"])
def test_a_table_names_the_classes(flat, tmp_path, key, header):
    rows = [f"{key.format(1000 + index)},{'no_sub' if index < 5 else 'sub'}" for index in range(10)]
    table = tmp_path / "labels.csv"
    table.write_text("\n".join([header, *reversed(rows)]) + "\n", encoding="utf-8")
    images = load_images(str(flat), how=Opening(labels=str(table)))
    assert images.classes == ("no_sub", "sub")
    assert images.labels.tolist() == [0] * 5 + [1] * 5
    assert images.paths[0] == "cutout_1000.png"


def test_tables_of_spreadsheets(flat, tmp_path):
    rows = [f"cutout_{1000 + index};{index // 5};{'Train' if index % 5 else 'valid'}" for index in range(10)]
    table = tmp_path / "labels.csv"
    table.write_bytes(("\r\n".join(["Datei;label;Split".replace("Datei", "file"), *rows, "é"[:0]])).encode("latin-1"))
    images = load_images(str(flat), how=Opening(labels=str(table)))
    assert (images.classes, images.parts.count("train"), images.parts.count("val")) == (("0", "1"), 8, 2)


def test_ids_without_their_zeros_and_paths_of_another_computer(tmp_path):
    folder = write_lenses(tmp_path / "lenses", 5)
    flat = tmp_path / "flat"
    flat.mkdir()
    for index, file in enumerate(sorted(folder.rglob("*.png"))):
        file.rename(flat / f"img_{index:04d}.png")
    table = tmp_path / "labels.csv"
    for key in ("{}", "{:02d}", "flat/img_{:04d}.png", "C:\\data\\img_{:04d}.png", "/data/img_{:04d}"):
        table.write_text("id,class\n" + "".join(f"{key.format(index)},{index // 5}\n" for index in range(10)))
        assert load_images(str(flat), how=Opening(labels=str(table))).labels.tolist() == [0] * 5 + [1] * 5
    (flat / "x_003.png").write_bytes((flat / "img_0003.png").read_bytes())
    table.write_text("id,class\n" + "".join(f"{index},{index // 5}\n" for index in range(10)))
    with pytest.raises(InputError, match="3 in line 5 is 2 images"):
        load_images(str(flat), how=Opening(labels=str(table)))


def test_tables_that_do_not_fit_say_why(flat, tmp_path):
    table = tmp_path / "labels.csv"
    whole = [f"cutout_{1000 + index},{index // 5}" for index in range(10)]

    def said(*lines: str) -> str:
        table.write_text("\n".join(lines) + "\n")
        with pytest.raises(InputError) as error:
            load_images(str(flat), how=Opening(labels=str(table)))
        return str(error.value)

    assert "its columns are a, b: give one called path, file or id, and one called class or label" in said("a,b", "1,2")
    assert "has no rows" in said("path,class")
    assert "line 3 has no class" in said("path,class", whole[0], "cutout_1001,")
    assert "1 files beside 9 images are not used" in said("path,class", *whole[1:])
    assert "lost has no image of its own" in said("path,class", *whole, "lost,1")
    assert "cutout_1000.png has two classes" in said("path,class", *whole, "1000,1")
    assert "has one class (0)" in said("path,class", *whole[:5])
    message = said("path,class", "x,1")
    assert "names none of the images" in message
    assert "it has «x», and one of the images is cutout_1000.png" in message
    assert "line 3 has no split, and others have" in said("path,class,split", whole[0] + ",train", whole[1] + ",")
    assert "has the split «x»" in said("path,class,split", whole[0] + ",x")
    table.unlink()
    with pytest.raises(InputError, match="cannot be read as a table"):
        load_images(str(flat), how=Opening(labels=str(table)))
