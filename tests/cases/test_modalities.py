"""Names of modalities: whole words in any capitals, never a part of a word, never two in one name."""

import itertools
from pathlib import Path

import pytest

from tfs_rt.cases.modalities import SYNONYMS, modality_of, modality_of_name, parse

# Written out by hand after public data sets: BraTS, ADNI, RIRE, Harvard atlas, scanners' series names.
AS_PEOPLE_WRITE = {
    "ct": ["ct.png", "CT.DCM", "CTAC", "001_ct.png", "ct-001.tif", "head ct.png", "rire.patient_001.ct.nii.gz"],
    "mr-t1": ["t1.png", "T1w.nii.gz", "mri-t1", "mrt1.png", "mr_t1.png", "MPRAGE.dcm", "001_t1.png", "BraTS_7_t1n.nii"],
    "mr-t2": ["t2.png", "T2W.nii", "MRI_T2.png", "patient7-MR-T2.png", "t2-weighted.png", "mrt2.png", "401_T2_TSE"],
    "mr-flair": ["flair.nii.gz", "t2_flair.png", "T2-FLAIR", "BraTS_7_t2f.nii.gz", "mr-flair.png", "FLAIR_001.png"],
    "mr-gad": ["gad.png", "t1c.nii", "T1ce.png", "t1gd", "t1-gad.png", "T1post.png", "ce-t1.png", "mr_gad.png", "t1+c"],
    "mr-pd": ["pd.png", "PDw.nii.gz", "proton density.png", "mr-pd.png"],
    "mr": ["mr.png", "MRI", "mri_001.png"],
    "pet": ["PET", "pet.png", "fdg.png", "SUV.nii.gz", "pet-fdg.png", "FDG_PET_001.nii", "amyloid.png", "PT"],
    "spect": ["SPECT", "SPECT-Tc", "spect-tl", "nm.dcm", "tc99m.png", "MIBI.png", "Tc-99m SPECT", "spect_tc_001.png"],
}
NONE_OF_THEM = [
    "contact.png",  # ct
    "product-7.png",
    "carpet.png",  # pet
    "spectrum.png",
    "t10.png",
    "t2star.png",
    "pt_003.png",  # patient 3
    "flairs.png",
    "nmr.png",
    "1.png",
    "mrs.png",
    "ct_mask.png",  # made of an image
    "t1_seg.nii.gz",
    "CT masks",
    "pet-overlay.png",
    "mr_dwi.png",  # no slot for this contrast
]
TWO = {
    "ct_pet.png": ("ct", "pet"),
    "pet-on-t1.png": ("pet", "mr-t1"),
    "SPECT-MRI": ("spect", "mr"),
    "PD_007_t1.png": ("mr-pd", "mr-t1"),
}


@pytest.mark.parametrize("modality", AS_PEOPLE_WRITE)
def test_names_as_people_write_them_are_understood(modality: str) -> None:
    assert {name: modality_of_name(name) for name in AS_PEOPLE_WRITE[modality]} == dict.fromkeys(
        AS_PEOPLE_WRITE[modality], modality
    )


@pytest.mark.parametrize("name", NONE_OF_THEM)
def test_a_part_of_a_word_or_something_made_of_an_image_names_no_modality(name: str) -> None:
    assert modality_of_name(name) is None


@pytest.mark.parametrize("name", TWO)
def test_a_name_of_two_modalities_names_none_and_both_are_known(name: str) -> None:
    assert modality_of_name(name) is None
    assert parse(name).modalities == TWO[name]


@pytest.mark.parametrize(
    ("name", "rest"),
    [
        ("001_t1.png", "001"),
        ("patient7-MR-T2.png", "patient7"),
        ("ct 12.dcm", "12"),
        ("a_t1_b.png", "a_b"),
        ("SPECT-Tc.png", ""),
        ("p1.t1.without.gad.nii.gz", "p1.without.gad"),
    ],
)
def test_what_a_name_holds_besides_its_modality_tells_the_case(name: str, rest: str) -> None:
    assert parse(name).rest == rest


def test_every_synonym_is_understood_in_all_capitals_and_separators_and_beside_a_number() -> None:
    for modality, phrases in SYNONYMS.items():
        for phrase, separator in itertools.product(phrases, "-_. "):
            name = phrase.replace("-", separator)
            for written in (name, name.upper(), name.title(), f"007{separator}{name}", f"{name}{separator}007"):
                assert modality_of_name(f"{written}.png") == modality, written


def test_no_synonym_stands_for_two_modalities() -> None:
    phrases = [phrase for phrases in SYNONYMS.values() for phrase in phrases]
    assert len(phrases) == len(set(phrases))


def test_t1_before_contrast_medium_is_t1() -> None:
    for name in ("t1_pre_contrast.png", "t1-without-gad.png", "t1_no_contrast.png", "T1 native.png"):
        assert modality_of_name(name) == "mr-t1"


@pytest.mark.parametrize(
    ("path", "modality"),
    [
        ("k/CT.nii.gz", "ct"),
        ("ct/001.nii.gz", "ct"),
        ("study/CT", "ct"),  # a folder that is a series
        ("ct/mr-t1.png", "mr-t1"),  # the file's own name counts first
        ("ct/sub-01_T1w.nii.gz", "mr-t1"),
        ("ct/pet_on_ct.nii.gz", None),
        ("SPECT-Tc/001.nii.gz", "spect"),
        ("k/001.nii.gz", None),
    ],
)
def test_a_modality_stands_in_the_name_of_the_file_or_else_of_its_folder(path: str, modality: str | None) -> None:
    assert modality_of(Path(path)) == modality
