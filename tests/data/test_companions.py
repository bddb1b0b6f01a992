"""What lies beside the image of a lens and is none, by its name."""

import pytest

from deeplense.data.companions import companions_among


@pytest.mark.parametrize(
    ("main", "others"),
    [
        ("data", "noise_map psf psf_kernel rms_map weight_map error_map mask_extra_galaxies mask invvar-map DQ.map"),
        ("image", "psf_0 psf_1 mask_lens positions background ExpMap"),
        ("l1", "l1_invvar l1_rmsmap l1_bkg l1.flag l1_rms_map weights_l1 sky_map_l1 l1_segm"),
        ("image_7", "psf_7 uncert_7 exposure_map_7 7_wht"),
    ],
)
def test_companions_of_one_image(main, others):
    paths = [f"sub/{name}.fits" for name in (*others.split(), main)]
    assert companions_among(paths) == paths[:-1]
    assert companions_among([f"no_{path}" if path == paths[-1] else path for path in paths]) == []  # another folder


@pytest.mark.parametrize(
    "names", ["psf_4 image_3", "psf_kernel lens1", "map data", "masked data", "l1_sub l1", "l1_map l1"]
)
def test_names_that_say_nothing_of_an_image_beside_them(names):
    assert companions_among([f"{name}.fits" for name in names.split()]) == []
