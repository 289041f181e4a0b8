"""Distillation: a teacher's mean answer takes the place of the ground truth, and its student says it in one step."""

import dataclasses
import json
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from support.helpers import Cli
from tfs_rt.cases.load import read_file
from tfs_rt.methods.diffusion import load_pipeline
from tfs_rt.models.bundle import Bundle
from tfs_rt_reference.checkpoints.load import load_checkpoint
from tfs_rt_reference.data.groups import low_resolution, read_groups
from tfs_rt_reference.model import load_model
from tfs_rt_reference.training import run as module
from tfs_rt_reference.training.config import make_config
from tfs_rt_reference.training.distillation import make_targets, make_teacher, student_layers, target_key, with_targets
from tfs_rt_reference.training.material import Material
from tfs_rt_reference.training.run import Request, Watch, train

pytestmark = pytest.mark.usefixtures("shared_graphs")

FEW = ["--set=batch=2", "--set=crop=32", "--set=iterations=4", "--set=validate_every=2", "--set=precision=fp32"]
# The architecture COMPACT of the tests' helpers, whose graph is traced anyway.
NETWORK = ["architecture.inner_channel=8", "architecture.norm_groups=4", "architecture.res_blocks=1"]
NETWORK += ["architecture.patch_size=2", "architecture.gate=condition"]


@pytest.fixture(scope="module")
def teacher(made_set: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An eps network of a few steps of training."""
    from typer.testing import CliRunner

    from tfs_rt.cli import app

    output = tmp_path_factory.mktemp("teacher") / "run"
    settings = [*FEW, *(f"--set={key}" for key in NETWORK), "--set=prediction=eps", "--set=sigma_range=[0.02, 20]"]
    settings.append("--set=architecture.sigma_data=0.5")
    outcome = CliRunner().invoke(app, ["train", str(made_set), "-o", str(output), "--scale", "4", *settings])
    assert outcome.exit_code == 0, outcome.output
    return output / "model.safetensors"


def test_a_student_has_its_teachers_network_and_says_x0(
    cli: Cli, made_set: Path, teacher: Path, tmp_path: Path
) -> None:
    outcome = cli("distill", teacher, made_set, "-o", tmp_path / "run", "--samples", "2", "--steps", "2", *FEW)
    assert outcome.code == 0, outcome.err
    assert [json.loads(line)["iteration"] for line in outcome.out.splitlines()] == [2, 4]
    student = load_checkpoint(tmp_path / "run" / "model.safetensors").spec
    spec = load_checkpoint(teacher).spec
    network = dataclasses.replace(spec.architecture, sigma_data=0.0)
    assert (student.architecture, student.schedule, student.scale) == (network, spec.schedule, spec.scale)
    assert (spec.prediction, student.prediction) == ("eps", "x0")


@pytest.mark.slow  # its graph is traced anew; the quick tests export the teacher
def test_a_student_exports(cli: Cli, made_set: Path, teacher: Path, tmp_path: Path) -> None:
    _distil(made_set, teacher, tmp_path / "run", config={"iterations": 1})
    exported = cli("export", tmp_path / "run" / "model.safetensors", "-o", tmp_path / "bundle", "--steps", "1")
    assert exported.code == 0, exported.err


def _distil(made_set: Path, teacher: Path, output: Path, *, stop: int = 10**9, **options: Any) -> None:
    """Distil with Muon and dropout; `stop` breaks off as a signal would, in that iteration of training."""
    left = stop

    def count(more: int) -> None:
        nonlocal left
        left -= more
        if left <= 0:
            raise KeyboardInterrupt

    def progress(doing: str, total: int, units: str) -> AbstractContextManager:
        return nullcontext(count if doing == "training" else lambda done: None)

    model = load_model(teacher)
    few = {"batch": 2, "crop": 32, "iterations": 4, "validate_every": 2, "precision": "fp32", "dropout": 0.1}
    config = make_config(*student_layers(model.spec), few | {"muon": 0.01} | options.pop("config", {}))
    taught = make_teacher(model, options.pop("samples", 1), 1)
    train(Request([made_set], output, config, teacher=taught, **options), Watch(progress=progress))


def test_a_broken_distillation_goes_on_to_the_same_bytes(made_set: Path, teacher: Path, tmp_path: Path) -> None:
    _distil(made_set, teacher, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        _distil(made_set, teacher, tmp_path / "broken", stop=3)
    (target,) = (tmp_path / "broken" / "targets").glob("*/0-k1.png")
    target.unlink()  # as if it had been broken off earlier
    _distil(made_set, teacher, tmp_path / "broken", resume=True)
    assert target.exists()
    whole, broken = ((tmp_path / name / "model.safetensors").read_bytes() for name in ("whole", "broken"))
    assert whole == broken


def test_a_student_learns_from_the_targets_and_begins_with_its_teachers_weights(
    made_set: Path, teacher: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    class Seen(Material):
        def __init__(self, sets, config, *, grid=1):
            seen.append((sets, grid))
            super().__init__(sets, config, grid=grid)

    monkeypatch.setattr(module, "Material", Seen)
    _distil(made_set, teacher, tmp_path / "run", config={"iterations": 1, "rate": 1e-12, "muon": 0.0})
    (group, *_) = seen[-1][0][0]
    grid = seen[-1][1]
    (file,) = (tmp_path / "run" / "targets").glob("*/0-k0.png")
    assert np.array_equal(group.truth, read_file(file)[0])
    assert grid == 4
    before, after = (load_checkpoint(p).network.state_dict() for p in (teacher, tmp_path / "run" / "model.safetensors"))
    same = {key for key in before if torch.allclose(before[key], after[key], atol=1e-6)}
    assert {key for key in before if key not in same} <= {
        "final_conv.block.3.weight",
        "final_conv.block.3.bias",
        "condition_skip.weight",
    }
    assert "final_conv.block.3.weight" not in same  # it said eps


def test_other_data_have_targets_of_their_own(made_set: Path, teacher: Path) -> None:
    taught = make_teacher(load_model(teacher), 2, 1)
    keys = {target_key(taught, ["a", "b"]), target_key(taught, ["b", "a"]), target_key(taught, ["a"])}
    keys.add(target_key(make_teacher(load_model(teacher), 3, 1), ["a"]))
    assert len(keys) == 4


def test_a_distillation_is_resumed_as_it_was_begun(cli: Cli, made_set: Path, teacher: Path, tmp_path: Path) -> None:
    begun = ["distill", teacher, made_set, "-o", tmp_path / "run", "--samples", "1"]
    assert cli(*begun, "--steps", "1", *FEW).code == 0
    assert cli(*begun, "--steps", "1", "--resume").code == 0  # its configuration is on disk
    for other, words in (
        ([*begun, "--steps", "2", "--resume"], "another teacher, --samples or --steps"),
        ([*begun, "--steps", "1", "--resume", "--set=iterations=9"], "iterations: 4 in the run, 9 asked"),
        (["train", made_set, "-o", tmp_path / "run", "--resume"], "was begun otherwise"),
    ):
        refused = cli(*other)
        assert refused.code == 2
        assert words in refused.err


def test_a_target_is_the_mean_of_what_the_exported_teacher_answers(
    cli: Cli, made_set: Path, teacher: Path, tmp_path: Path
) -> None:
    assert cli("export", teacher, "-o", tmp_path / "bundle").code == 0
    pipeline = load_pipeline(tmp_path / "bundle", recipe=lambda r: dataclasses.replace(r, steps=3))
    groups = read_groups(made_set, "train")
    made = make_teacher(load_model(teacher), 4, 3)
    assert made.recipe == pipeline.recipe
    make_targets(made, [groups], tmp_path / "targets")
    (taught,) = with_targets([groups], tmp_path / "targets")
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
        (["{teacher}", "{set}/train"], 3, "is not a training set's manifest"),
        (["{teacher}", "{set}", "--set", "architecture.inner_channel=32"], 5, "has another architecture"),
        (["{teacher}", "{set}", "--set", "architecture.widths=32"], 2, "unknown key"),
        (["{teacher}", "{set}", "--resume"], 2, "holds no run to resume"),
        (["{teacher}", "{set}", "--set", "scale=2"], 2, "2 is asked, but the student's is 4"),
        (["{teacher}", "{set}", "--set", "prediction=eps"], 2, "eps is asked, but the student's is x0"),
        (["tfs-rt/x9", "{set}"], 5, "tfs-rt/x9"),
    ],
)
def test_what_cannot_be_distilled_is_said_in_one_line(
    cli: Cli, made_set: Path, teacher: Path, tmp_path: Path, arguments: list[str], code: int, words: str
) -> None:
    filled = [a.format(set=made_set, teacher=teacher) for a in arguments]
    outcome = cli("distill", *filled, "-o", tmp_path / "run", *FEW)
    assert (outcome.code, len(outcome.err.splitlines())) == (code, 1), outcome.err
    assert words in outcome.err


def test_a_checkpoint_that_is_not_ours_is_distilled_from_its_bundle(
    cli: Cli, made_set: Path, halved: tuple[Bundle, Any], tmp_path: Path
) -> None:
    few = ["--samples", "1", "--steps", "1", *FEW]
    outcome = cli("distill", halved[0].path, made_set, "-o", tmp_path / "run", *few)
    assert outcome.code == 0, outcome.err


def test_a_published_checkpoint_must_be_exported_first(cli: Cli, made_set: Path, parity: Path, tmp_path: Path) -> None:
    refused = cli("distill", parity / "tfsdiff_tiny_gen.pth", made_set, "-o", tmp_path / "run", *FEW)
    assert refused.code == 5
    assert "export it first" in refused.err


@pytest.mark.slow
def test_a_published_checkpoint_is_distilled_from_its_bundle(
    cli: Cli, made_set: Path, parity: Path, tmp_path: Path
) -> None:
    published = parity / "tfsdiff_tiny_gen.pth"
    options = ["--config", parity / "tfsdiff_tiny.json", "--scale", "4"]
    assert cli("export", published, "-o", tmp_path / "bundle", *options).code == 0
    outcome = cli(
        "distill", tmp_path / "bundle", made_set, "-o", tmp_path / "run", "--samples", "1", "--steps", "1", *FEW
    )
    assert outcome.code == 0, outcome.err


def test_files_of_a_target_are_images(made_set: Path, teacher: Path, tmp_path: Path) -> None:
    made = make_teacher(load_model(teacher), 1, 1)
    make_targets(made, [read_groups(made_set, "train")], tmp_path / "targets", share=(1, 2))
    (only,) = (tmp_path / "targets").glob("*.png")
    assert only.name == "0-k1.png"  # the second process's share
    assert read_file(only)[0].shape == (96, 96, 3)
