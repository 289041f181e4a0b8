"""Distillation: a teacher's mean answer takes the place of the ground truth, and its student says it in one step."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from helpers import Cli

from tfs_rt.intake import read_file
from tfs_rt.pipeline import load_pipeline
from tfs_rt_reference.checkpoint import load_checkpoint
from tfs_rt_reference.data import low_resolution, read_groups
from tfs_rt_reference.model import load_model
from tfs_rt_reference.training.config import make_config
from tfs_rt_reference.training.distillation import make_targets, make_teacher, student_layers, with_targets
from tfs_rt_reference.training.material import Material

FEW = ["--set=batch=2", "--set=crop=32", "--set=iterations=4", "--set=validate_every=2", "--set=precision=fp32"]
NETWORK = ["architecture.inner_channel=16", "architecture.norm_groups=4", "architecture.res_blocks=1"]


@pytest.fixture(scope="module")
def teacher(made_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An eps network of a few steps of training."""
    from typer.testing import CliRunner

    from tfs_rt.cli import app

    output = tmp_path_factory.mktemp("teacher") / "run"
    settings = [*FEW, *(f"--set={key}" for key in NETWORK), "--set=prediction=eps", "--set=sigma_range=[0.02, 20]"]
    outcome = CliRunner().invoke(app, ["train", str(made_set), "-o", str(output), "--scale", "4", *settings])
    assert outcome.exit_code == 0, outcome.output
    return output / "model.safetensors"


def test_a_student_has_its_teachers_network_and_says_x0(
    cli: Cli, made_set: Path, teacher: Path, tmp_path: Path
) -> None:
    outcome = cli("distill", teacher, made_set, "-o", tmp_path / "run", "--samples", "2", "--steps", "2", *FEW)
    assert outcome.code == 0, outcome.err
    assert [json.loads(line)["iteration"] for line in outcome.out.splitlines()] == [2, 4]
    student, spec = load_checkpoint(tmp_path / "run" / "model.safetensors").spec, load_checkpoint(teacher).spec
    assert (student.architecture, student.schedule, student.scale) == (spec.architecture, spec.schedule, spec.scale)
    assert (spec.prediction, student.prediction) == ("eps", "x0")
    exported = cli("export", tmp_path / "run" / "model.safetensors", "-o", tmp_path / "bundle", "--steps", "1")
    assert exported.code == 0, exported.err


def test_a_broken_distillation_goes_on_to_the_same_bytes(
    cli: Cli, made_set: Path, teacher: Path, tmp_path: Path
) -> None:
    options = ["--samples", "1", "--steps", "1", *FEW]
    assert cli("distill", teacher, made_set, "-o", tmp_path / "whole", *options).code == 0
    assert cli("distill", teacher, made_set, "-o", tmp_path / "broken", *options, "--set=iterations=2").code == 0
    refused = cli("distill", teacher, made_set, "-o", tmp_path / "broken", *options, "--resume")
    assert refused.code == 2
    assert "iterations: 2 in the run, 4 asked" in refused.err
    (target,) = (tmp_path / "whole" / "targets").glob("*/0-k1.png")
    target.unlink()
    before = (tmp_path / "whole" / "model.safetensors").read_bytes()
    assert cli("distill", teacher, made_set, "-o", tmp_path / "whole", *options, "--resume").code == 0
    assert target.exists()
    assert (tmp_path / "whole" / "model.safetensors").read_bytes() == before


def test_a_target_is_the_mean_of_what_the_exported_teacher_answers(
    cli: Cli, made_set: Path, teacher: Path, tmp_path: Path
) -> None:
    assert cli("export", teacher, "-o", tmp_path / "bundle").code == 0
    pipeline = load_pipeline(tmp_path / "bundle", recipe=lambda r: dataclasses.replace(r, steps=3))
    groups = read_groups(made_set, "train")
    made = make_teacher(load_model(teacher), 4, 3)
    assert made.recipe == pipeline.recipe
    make_targets(made, [groups], tmp_path)
    (taught,) = with_targets(made, [groups], tmp_path)
    for before, after in zip(groups, taught, strict=True):
        low = [low_resolution(image, 4) for image in before.sources]
        answers = [pipeline.fuse([low], [before.id], size=(96, 96), seed=seed)[0] for seed in range(4)]
        mean = np.mean(np.stack(answers).astype(np.float64), axis=0)
        assert np.abs(after.truth - mean).max() <= 1  # rounding, and a level of two float32 graphs
        assert after.truth.std() > 0
        assert after.sources is before.sources


def test_crops_of_a_taught_group_keep_to_the_phase_its_target_was_made_in(made_set: Path, teacher: Path) -> None:
    groups = read_groups(made_set, "train")
    config = make_config(*student_layers(load_model(teacher).spec), {"crop": 32, "batch": 2})
    marked = []
    for group in groups:  # each pixel's truth says where it lies on the low-resolution grid
        y, x = np.mgrid[:96, :96]
        marked.append(dataclasses.replace(group, truth=np.stack([y % 4, x % 4, y * 0], axis=-1).astype(np.uint8)))
    material = Material([marked], config, grid=4)
    for i in range(8):
        _, x_0, *_ = material.sample(i, 0)
        levels = np.rint((x_0 + 1) * 127.5)
        assert set(levels[0, 0]) == {0} or set(levels[0, 0]) == {3}  # a cell's first row, or its last if mirrored
        assert set(levels[1, :, 0]) == {0} or set(levels[1, :, 0]) == {3}


def test_without_samples_the_ground_truth_is_the_target(
    cli: Cli, made_set: Path, teacher: Path, tmp_path: Path
) -> None:
    assert cli("distill", teacher, made_set, "-o", tmp_path / "run", "--samples", "0", *FEW).code == 0
    assert not (tmp_path / "run" / "targets").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["{set}/none.pth", "{set}"], 5, "none.pth"),
        (["{teacher}", "{set}/train"], 3, "is no training set's manifest"),
        (["{teacher}", "{set}", "--set", "architecture.inner_channel=32"], 5, "has another architecture"),
        (["{teacher}", "{set}", "--set", "architecture.widths=32"], 2, "unknown key"),
        (["{teacher}", "{set}", "--resume"], 2, "holds no run to resume"),
    ],
)
def test_what_cannot_be_distilled_is_said_in_one_line(
    cli: Cli, made_set: Path, teacher: Path, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    filled = [a.format(set=made_set, teacher=teacher) for a in arguments]
    outcome = cli("distill", *filled, "-o", tmp_path / "run", *FEW)
    assert (outcome.code, len(outcome.err.splitlines())) == (code, 1), outcome.err
    assert words in outcome.err


def test_a_published_checkpoint_is_exported_first(cli: Cli, made_set: Path, parity: Path, tmp_path: Path) -> None:
    published = parity / "tfsdiff_tiny_gen.pth"
    refused = cli("distill", published, made_set, "-o", tmp_path / "run", *FEW)
    assert refused.code == 5
    assert "export it first" in refused.err
    options = ["--config", parity / "tfsdiff_tiny.json", "--scale", "4"]
    assert cli("export", published, "-o", tmp_path / "bundle", *options).code == 0
    outcome = cli(
        "distill", tmp_path / "bundle", made_set, "-o", tmp_path / "run", "--samples", "1", "--steps", "1", *FEW
    )
    assert outcome.code == 0, outcome.err


def test_files_of_a_target_are_images(made_set: Path, teacher: Path, tmp_path: Path) -> None:
    made = make_teacher(load_model(teacher), 1, 1)
    make_targets(made, [read_groups(made_set, "train")], tmp_path, share=(1, 2))
    (only,) = (tmp_path / "targets").glob("*/*.png")
    assert only.name == "0-k1.png"  # the second process's share
    assert read_file(only)[0].shape == (96, 96, 3)
