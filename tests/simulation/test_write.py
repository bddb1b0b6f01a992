"""Sets on disk: what is in them, interruptions, full disks, and bad input."""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from set_names import EVERY_SET, ONE_SET

from deeplense.content import content_hash
from deeplense.data.images import load_images
from deeplense.errors import InputError
from deeplense.simulation.figures import draw_samples
from deeplense.simulation.files import finished_images
from deeplense.simulation.sets import SETS, SUMMARIES, find_classes, find_set
from deeplense.simulation.simulator import Simulator
from deeplense.simulation.write import describe, simulate_set

NAMES = ("dataset.json", "images.npy", "catalog.csv", "subhalos.csv")


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(newline="") as table:
        return list(csv.DictReader(table))


def make(folder: Path, count: int, **options: object) -> None:
    simulate_set("model_i", folder, count, progress=False, **options)  # type: ignore[arg-type]


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    call = [sys.executable, "-m", "deeplense.simulation", *map(str, arguments)]
    return subprocess.run(call, capture_output=True, text=True, check=False)


def test_packed_set_holds_images_and_their_truth(tmp_path: Path) -> None:
    make(tmp_path, 40, classes=("no_sub", "cdm", "axion"), seed=2)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(NAMES)
    about = json.loads((tmp_path / "dataset.json").read_text())
    assert (about["name"], about["seed"], about["count"]) == ("model_i", 2, 40)
    assert about["classes"] == ["no_sub", "axion", "cdm"]
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert images.shape == (40, 150, 150)
    assert images.dtype == np.float16
    catalog, masses = rows(tmp_path / "catalog.csv"), rows(tmp_path / "subhalos.csv")
    assert [int(row["index"]) for row in catalog] == list(range(40))
    assert [row["class"] for row in catalog[:4]] == ["no_sub", "axion", "cdm", "no_sub"]
    assert [row["sha256"] for row in catalog] == [content_hash(image) for image in images]
    per_image = [sum(row["index"] == str(index) for row in masses) for index in range(3)]
    assert per_image == [0, 100, 25]

    # The truth is the truth: what the simulator draws for these images, and the images are what it makes of it.
    simulator = Simulator(SETS["model_i"], find_classes(["no_sub", "cdm", "axion"]), 2, "cpu")
    index = torch.arange(40)
    counts, draws = simulator.make(index // 3, index % 3)
    np.testing.assert_array_equal(images, counts.half().numpy())
    assert np.float32(catalog[5]["source_x"]) == draws.scalars["source_x"][5].numpy()
    assert catalog[0]["axion_mass"] == ""
    assert float(catalog[1]["axion_mass"]) == pytest.approx(draws.scalars["axion_mass"][1].item())
    last = [row for row in masses if row["index"] == "38"][-1]
    truth = (draws.x[38], draws.y[38], draws.mass[38], draws.radius[38])
    written = [np.float32(last[name]) for name in ("x", "y", "mass", "einstein_radius")]
    assert written == [values[draws.mass[38] > 0][-1].numpy() for values in truth]

    # And the loader understands the folder.
    loaded = load_images(str(tmp_path))
    assert list(loaded.classes) == ["no_sub", "axion", "cdm"]
    assert loaded.hashes == [row["sha256"] for row in catalog]


@pytest.mark.parametrize("name", EVERY_SET)
def test_what_is_stored_keeps_counts_and_noise(name: str) -> None:
    """No count is too large, and rounding adds less than 1 % to the noise of any pixel."""
    camera = SETS[name].camera
    simulator = Simulator(SETS[name], find_classes(["no_sub", "cdm"]), 0, "cpu")
    number = torch.arange(32)
    counts, draws = simulator.make(number // 2, number % 2)
    digits = {"float16": 10, "float32": 23}[camera.stored]
    assert counts.max() < (65504 / 4 if camera.stored == "float16" else 1e30)
    unit = camera.unit_counts or 1.0
    step = torch.exp2(torch.floor(torch.log2(counts.abs().clamp(min=1e-3 / unit))) - digits) * unit
    floor = draws.scalars["exposure"][:, None, None] * camera.background_rms
    noise = ((counts * unit).clamp(min=0) + floor**2).sqrt()
    assert (step**2 / 12 / noise**2).max() < 0.01


def test_subhalos_with_a_profile_are_written_with_it(tmp_path: Path) -> None:
    simulate_set("hst_subhalo", tmp_path, 6, seed=1, progress=False)
    images = np.load(tmp_path / "images.npy", mmap_mode="r")
    assert (images.shape, images.dtype) == ((6, 80, 80), np.float32)
    assert json.loads((tmp_path / "dataset.json").read_text())["unit"] == "electrons/s"
    simulator = Simulator(SETS["hst_subhalo"], find_classes(), 1, "cpu")
    counts, draws = simulator.make(torch.arange(6) // 2, torch.arange(6) % 2)
    np.testing.assert_array_equal(images, counts.numpy())
    subhalos = rows(tmp_path / "subhalos.csv")
    assert [row["index"] for row in subhalos] == ["1", "3", "5"]
    for row, image in zip(subhalos, (1, 3, 5), strict=True):
        assert np.float32(row["mass"]) == draws.mass[image, 0].numpy()
        assert np.float32(row["scale_radius"]) == draws.scale[image, 0].numpy()
        assert float(row["concentration"]) == 60
        assert float(row["truncation_radius"]) == pytest.approx(20 * float(row["scale_radius"]))
        assert float(row["einstein_radius"]) < draws.radius[image, 0]
    assert "slope" in rows(tmp_path / "catalog.csv")[0]
    loaded = load_images(str(tmp_path))
    assert loaded.pixels.shape == (6, 1, 80, 80)


@pytest.mark.parametrize(
    ("name", "of_each", "written"), [("hst_subhalo", "clumps", "clump_share"), ("euclid", "neighbours", "neighbours")]
)
def test_what_is_in_no_table_is_drawn_again(tmp_path: Path, name: str, of_each: str, written: str) -> None:
    lens_set = find_set(name)
    lens_set = replace(lens_set, camera=replace(lens_set.camera, pixels=32))
    simulate_set(lens_set, tmp_path, 6, seed=3, progress=False)
    index = torch.arange(6)
    draws = Simulator(lens_set, find_classes(), 3, "cpu").draw(index // 2, index % 2)
    catalog = rows(tmp_path / "catalog.csv")
    for column in ("einstein_radius", "source_x"):
        assert [float(row[column]) for row in catalog] == pytest.approx(draws.scalars[column].tolist(), rel=1e-5)
    assert {column for column in catalog[0] if column.startswith(of_each[:5])} == {written}
    assert getattr(draws, of_each)[:, :3].abs().amin() > 0


def test_first_images_do_not_depend_on_the_count(tmp_path: Path) -> None:
    make(tmp_path / "few", 300)
    make(tmp_path / "many", 330)
    few, many = content(tmp_path / "few"), content(tmp_path / "many")
    for name in ("catalog.csv", "subhalos.csv"):
        assert many[name].startswith(few[name])
    assert many["images.npy"][128:].startswith(few["images.npy"][128:])
    # A set is lengthened by the same command with another count, and not shortened by a smaller one.
    make(tmp_path / "few", 330)
    assert content(tmp_path / "few") == many
    make(tmp_path / "few", 10)
    assert content(tmp_path / "few") == many


@pytest.mark.slow
def test_killed_command_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    killed = tmp_path / "killed"
    call = [sys.executable, "-m", "deeplense.simulation", "model_i", "--count", "600", "--out", str(killed)]
    with subprocess.Popen(call, stderr=subprocess.DEVNULL) as process:
        while process.poll() is None and finished_images(killed) < 256:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
    assert 256 <= finished_images(killed) < 600
    first = (killed / "images.npy").stat().st_ino
    make(killed, 600)
    make(tmp_path / "whole", 600)
    assert content(killed) == content(tmp_path / "whole")
    assert (killed / "images.npy").stat().st_ino == first  # gone on with, not begun again


def test_what_an_interruption_leaves_is_cut_off(tmp_path: Path) -> None:
    """Each state that a kill between two writes can leave: a torn row, point masses and pixels ahead of the rest."""
    make(tmp_path / "whole", 20)
    whole = content(tmp_path / "whole")
    for name, tail in (
        ("images.npy", bytes(70_000)),
        ("subhalos.csv", b"21,0.1,0.2,1e9,0.04\n22,0."),
        ("catalog.csv", b"20,no_s"),
    ):
        torn = tmp_path / f"torn-{name}"
        shutil.copytree(tmp_path / "whole", torn)
        with (torn / name).open("ab") as file:
            file.write(tail)
        make(torn, 20)
        assert content(torn) == whole
    for lost in ("images.npy", "catalog.csv"):
        torn = tmp_path / f"lost-{lost}"
        shutil.copytree(tmp_path / "whole", torn)
        os.truncate(torn / lost, 10)
        make(torn, 20)
        assert content(torn) == whole


def test_two_that_want_the_same_set_at_once_share_it(tmp_path: Path) -> None:
    with ThreadPoolExecutor(2) as pool:
        both = [pool.submit(make, tmp_path / "shared", 300) for _ in range(2)]
    assert [one.result() for one in both] == [None, None]
    make(tmp_path / "alone", 300)
    assert content(tmp_path / "shared") == content(tmp_path / "alone")


def test_interrupted_folders_are_gone_on_with(tmp_path: Path) -> None:
    make(tmp_path / "torn", 20, form="folders")
    whole = content(tmp_path / "torn")
    catalog = tmp_path / "torn" / "catalog.csv"
    catalog.write_bytes(catalog.read_bytes()[: catalog.read_bytes().index(b"\n12,") + 9])
    (tmp_path / "torn" / "no_sub" / "000007.npy").write_bytes(b"half")
    finished = tmp_path / "torn" / "sub" / "000002.npy"
    made = finished.stat().st_mtime_ns
    make(tmp_path / "torn", 20, form="folders")
    assert content(tmp_path / "torn") == whole
    assert finished.stat().st_mtime_ns == made  # not made again


def test_folders_are_read_as_class_folders(tmp_path: Path) -> None:
    make(tmp_path, 10, form="folders")
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("catalog.csv", "no_sub", "simulation.json", "sub", "subhalos.csv")
    ]
    image = np.load(tmp_path / "sub" / "000004.npy", allow_pickle=False)
    assert image.shape == (150, 150)
    assert image.dtype == np.float32
    loaded = load_images(str(tmp_path))
    assert list(loaded.classes) == ["no_sub", "sub"]
    assert len(loaded.paths) == 10


@pytest.mark.slow
def test_full_disk_leaves_what_was_written_usable(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("needs the right to mount a small tmpfs")
    try:
        with pytest.raises(InputError, match=r"the disk is full; 256 of 2000 images are there and can be used: make"):
            make(disk / "set", 2000)
        images = np.load(disk / "set" / "images.npy", mmap_mode="r")
        assert len(images) == 256
        loaded = load_images(str(disk / "set"))
        assert loaded.hashes == [content_hash(image) for image in images]
        subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)
        make(disk / "set", 600)
        make(tmp_path / "whole", 600)
        for name in ("images.npy", "catalog.csv", "subhalos.csv"):
            assert (disk / "set" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_bad_input_is_refused_in_a_line(tmp_path: Path) -> None:
    for count in (0, -3):
        with pytest.raises(InputError, match=rf"^--count {count}: give the number of images, 1 or more$"):
            make(tmp_path / "set", count)
    assert not (tmp_path / "set").exists()

    make(tmp_path / "set", 2)
    before = content(tmp_path / "set")
    with pytest.raises(InputError, match=r"set: holds another set \(seed differ\): give another folder, or remove"):
        make(tmp_path / "set", 2, seed=1)
    with pytest.raises(InputError, match=r"holds another set \(classes differ\)"):
        make(tmp_path / "set", 2, classes=("no_sub", "cdm", "axion"))
    with pytest.raises(InputError, match=r"holds another set \(name, version, pixel_scale, parameters differ\)"):
        simulate_set("morphology_2019", tmp_path / "set", 2)
    with pytest.raises(InputError, match=r"set: holds other files: give an empty folder or a new one$"):
        make(tmp_path / "set", 2, form="folders")
    assert content(tmp_path / "set") == before

    # What a kill before the first description had its name leaves is no other file.
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / ".dataset.json").write_text("{")
    make(tmp_path / "begun", 2)
    assert content(tmp_path / "begun") == before

    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.tex").touch()
    with pytest.raises(InputError, match=r"other: holds other files: give an empty folder or a new one$"):
        make(tmp_path / "other", 2)
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match=r"^.*file: cannot be written \(File exists\)$"):
        make(tmp_path / "file", 2)
    (tmp_path / "set" / "dataset.json").write_text("{")
    with pytest.raises(InputError, match=r"dataset.json: is no simulated set's description"):
        make(tmp_path / "set", 2)


def test_command_refuses_at_once_and_helps_at_once(tmp_path: Path) -> None:
    unknown = command("model_2", "--out", tmp_path / "set")
    assert unknown.returncode == 2
    assert unknown.stderr == (f"error: model_2: no simulated set has this name; there are {', '.join(SUMMARIES)}\n")
    assert command("model_i", "--out", tmp_path / "set", "--classes", "no_sub", "wdm").returncode == 2
    assert command("model_i", "--out", tmp_path / "set", "--count", "-1").returncode == 2
    missing = command("model_i", "--out", tmp_path / "set", "--beside", tmp_path / "nowhere")
    assert missing.returncode == 2
    assert missing.stderr.startswith(f"error: --beside {tmp_path / 'nowhere'}: does not exist: give a folder of FITS")
    share = command("model_i", "--out", tmp_path / "set", "--beside", tmp_path, "--part", "1/2")
    assert share.returncode == 2
    assert share.stderr.startswith("error: --beside: is drawn of a whole set, and not with --part: leave it out")
    assert not (tmp_path / "set").exists()
    shown = command("--help")
    assert "--classes" in shown.stdout
    listed = command("--list")
    assert [line.split()[0] for line in listed.stdout.splitlines()] == list(SUMMARIES)
    assert all(len(line.split()) > 4 and len(line) <= 140 for line in listed.stdout.splitlines())


@pytest.mark.parametrize("name", ONE_SET)
def test_figure_of_samples(tmp_path: Path, figures: None, name: str) -> None:
    lens_set = SETS[name]
    lens_set = replace(lens_set, camera=replace(lens_set.camera, pixels=32))
    draw_samples(lens_set, tmp_path / "samples.png", ("no_sub", "cdm", "axion"), seed=0)
    assert (tmp_path / "samples.png").read_bytes().startswith(b"\x89PNG")


def test_a_set_of_another_kind_of_device_is_another_set(tmp_path: Path) -> None:
    """Their images differ in single counts: a set of both would be none that anybody could make again."""
    lens_set, classes = find_set("model_i"), find_classes(("no_sub", "cdm"))
    on_cpu, on_gpu = (describe(lens_set, classes, 0, device=device) for device in ("cpu", "cuda:1"))
    assert on_gpu == {**on_cpu, "device": "cuda"}
    (tmp_path / "dataset.json").write_text(json.dumps({**on_gpu, "count": 4}))
    with pytest.raises(InputError, match=r"holds another set \(device differ\)"):
        make(tmp_path, 8)
