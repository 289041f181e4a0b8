"""`tfs-rt eval` as a user meets it: any method's folders, what is missing, and figures that say what they leave out."""

import csv
import itertools
import json
import math
import shutil
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.random import Generator
from sewar import vifp
from skimage.metrics import peak_signal_noise_ratio

from support.helpers import Cli, png, write_case
from tfs_rt.cases.load import read_file
from tfs_rt_bench.evaluation.score import Request, evaluate, method_names
from tfs_rt_bench.measures import fusion_metrics, metrics

IDS = ("a", "b", "c", "d")


@pytest.fixture
def folders(tmp_path: Path, rng: Generator) -> Path:
    """Ground truth, a good method and a bad one, and the sources."""
    y, x = np.mgrid[0:48, 0:48]
    for case in IDS:
        truth = (np.hypot(y - 24, x - 24) < 20)[..., None] * rng.integers(60, 250, (48, 48, 3))
        for name, noise in (("truth", 0), ("good", 4), ("bad", 30)):
            (tmp_path / name).mkdir(exist_ok=True)
            noisy = (truth + rng.normal(0, noise, truth.shape)).clip(0, 255) if noise else truth
            (tmp_path / name / f"{case}.png").write_bytes(png(noisy.astype(np.uint8)))
        write_case(tmp_path / "sources" / case, size=48)
    return tmp_path


def scored(cli: Cli, *arguments: object, code: int = 0) -> dict:
    done = cli("eval", *arguments, "--json")
    assert done.code == code, done.err
    return json.loads(done.out, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))


def test_every_form_of_the_report_tells_the_same(folders: Path, cli: Cli) -> None:
    done = cli("eval", folders / "good", folders / "truth", "--sources", folders / "sources", "-o", folders / "report")
    assert done.code == 0
    report = json.loads((folders / "report" / "eval.json").read_text())
    of_good = report["methods"]["good"]
    expected = {
        case: peak_signal_noise_ratio(*(read_file(folders / name / f"{case}.png")[0] for name in ("truth", "good")))
        for case in IDS
    }
    assert {case: scores["psnr"] for case, scores in of_good["per_case"].items()} == pytest.approx(expected)
    summary = of_good["summary"]["psnr"]
    assert summary["mean"] == pytest.approx(np.mean(list(expected.values())))
    assert summary["low"] <= summary["mean"] <= summary["high"]
    rows = list(csv.DictReader((folders / "report" / "eval.csv").read_text().splitlines()))
    assert [(row["method"], row["case"]) for row in rows] == [("good", case) for case in IDS]
    assert float(rows[0]["psnr"]) == pytest.approx(expected["a"])
    table = (folders / "report" / "table1.md").read_text()
    assert table.startswith("| Method | MSE↓ | VIF↑ | SSIM↑ | PSNR↑ | LPIPS↓ | MAE↓ | RMSE↓ | AG |\n")
    for said in (done.out, table):
        assert f"{summary['mean']:.2f}" in said
        assert "vifp(ground truth, result)" in said
        assert "LPIPS: n/a, no weights given" in said
    for measure in ("Q^AB/F", "MI", "SCD", "VIFF", "bias R", "PSNR, head"):
        assert measure in done.out


def test_every_measure_is_handed_its_images_in_the_right_order(folders: Path) -> None:
    request = Request(
        (folders / "bad",), folders / "truth", (folders / "sources",), lpips=lambda r, t: float(r[9, 9, 0])
    )
    found = evaluate(request)
    for case in IDS:
        result, truth = (read_file(folders / name / f"{case}.png")[0] for name in ("bad", "truth"))
        parts = [read_file(folders / "sources" / case / f"{name}.png")[0] for name in ("mr-t1", "mr-t2", "pet")]
        expected = metrics.fidelity(result, truth) | metrics.in_head(result, truth) | metrics.colour_bias(result, truth)
        expected |= fusion_metrics.against_sources(result, parts) | {"lpips": float(result[9, 9, 0])}
        assert found.scores["bad"][case] == expected
        assert expected["vif"] == pytest.approx(vifp(truth, result))
        assert expected["bias_r"] == pytest.approx(result[..., 0].mean() - truth[..., 0].mean())
        assert found.truth_ag[case] == metrics.average_gradient(truth)


def test_methods_are_compared_case_by_case_and_the_best_is_bold(folders: Path, cli: Cli) -> None:
    report = scored(cli, folders / "good", folders / "bad", folders / "truth", "-o", folders / "report")
    differences = report["paired_differences"]
    assert differences["minus"] == "good"
    psnr = differences["methods"]["bad"]["psnr"]
    per_case = [report["methods"][m]["per_case"] for m in ("bad", "good")]
    gaps = [per_case[0][case]["psnr"] - per_case[1][case]["psnr"] for case in IDS]
    assert psnr["difference"]["mean"] == pytest.approx(np.mean(gaps))
    assert (psnr["larger"], psnr["smaller"]) == (0, 4)
    said = cli("eval", folders / "good", folders / "bad", folders / "truth").out.split("paired")[1]
    better = {line.split("│")[1].split()[0]: line.split("│")[3].strip() for line in said.splitlines() if "│" in line}
    assert (better["PSNR"], better["MSE"], better["AG"]) == ("0 of 4", "0 of 4", "")
    reverse = cli("eval", folders / "bad", folders / "good", folders / "truth").out
    assert "4 of 4" in reverse
    good, bad = (folders / "report" / "table1.md").read_text().splitlines()[2:4]
    assert good.count("**") == 12  # six measures with a direction; LPIPS has no weights, AG has none
    assert "**" not in bad


def test_missing_extra_and_unequal_cases_are_named_and_left_out_for_all(folders: Path, cli: Cli) -> None:
    (folders / "good" / "a.png").unlink()
    (folders / "bad" / "extra.png").write_bytes(png(np.zeros((48, 48, 3), np.uint8)))
    (folders / "bad" / "b.png").write_bytes(png(np.zeros((24, 24, 3), np.uint8)))
    done = cli("eval", folders / "good", folders / "bad", folders / "truth")
    assert done.code == 3
    assert "a: good has no result for it: left out for all methods" in done.err
    assert "extra.png: has no ground truth: left out" in done.err
    assert "b: is 24x24 in bad, but its ground truth is 48x48" in done.err
    report = scored(cli, folders / "good", folders / "bad", folders / "truth", code=3)
    assert report["cases"] == 2
    assert {*report["methods"]["good"]["per_case"]} == {*report["methods"]["bad"]["per_case"]} == {"c", "d"}
    assert len(report["problems"]) == 3


def test_an_infinite_psnr_is_said_and_not_averaged(folders: Path, cli: Cli) -> None:
    shutil.copy(folders / "truth" / "a.png", folders / "good" / "a.png")
    done = cli("eval", folders / "good", folders / "bad", folders / "truth", "-o", folders / "report")
    report = json.loads((folders / "report" / "eval.json").read_text())
    good = report["methods"]["good"]
    assert good["per_case"]["a"]["psnr"] == "inf"
    finite = [good["per_case"][case]["psnr"] for case in ("b", "c", "d")]
    assert good["summary"]["psnr"]["mean"] == pytest.approx(np.mean(finite))
    assert (good["summary"]["psnr"]["cases"], good["summary"]["psnr"]["infinite"]) == (3, 1)
    table = (folders / "report" / "table1.md").read_text()
    for said in (done.out, table):
        assert "(without 1 infinite)" in said
    psnr = [line.split("|")[5] for line in table.splitlines()[2:4]]
    assert not any("**" in cell for cell in psnr)  # means over unlike cases have no best
    assert report["paired_differences"]["methods"]["bad"]["psnr"]["difference"]["infinite"] == 1
    assert "inf" in (folders / "report" / "eval.csv").read_text().splitlines()[1]
    same = scored(cli, folders / "truth", shutil.copytree(folders / "truth", folders / "copy"))
    assert same["methods"]["truth"]["summary"]["psnr"]["mean"] is None
    (line,) = [line for line in cli("eval", folders / "truth", folders / "copy").out.splitlines() if "PSNR ↑" in line]
    assert line.split("│")[2].strip() == "inf"


def test_constant_images_and_a_single_case_give_no_wrong_number(tmp_path: Path, cli: Cli) -> None:
    for name, level in (("truth", 0), ("flat", 9)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "one.png").write_bytes(png(np.full((48, 48, 3), level, np.uint8)))
    report = scored(cli, tmp_path / "flat", tmp_path / "truth")
    summary = report["methods"]["flat"]["summary"]
    assert summary["mse"]["mean"] == 81
    assert (summary["mse"]["low"], summary["mse"]["high"]) == (None, None)  # one case has no interval
    assert (summary["vif"]["mean"], summary["vif"]["undefined"]) == (None, 1)
    assert summary["psnr_head"]["undefined"] == 1  # a black ground truth has no head
    assert summary["psnr"]["mean"] == pytest.approx(10 * math.log10(255**2 / 81))
    assert "1 case: mean" in cli("eval", tmp_path / "flat", tmp_path / "truth").out


@pytest.mark.parametrize(
    ("spoil", "code", "words"),
    [
        (lambda f: (f / "good" / "a.png").write_bytes(b"no image"), 3, "a.png: is not a PNG file"),
        (lambda f: (f / "good" / "a.jpg").write_bytes(b"x"), 2, "holds 2 images of a"),
        (lambda f: (f / "truth" / "a.png").write_bytes((f / "truth" / "a.png").read_bytes()[:-9]), 3, "damaged"),
        (lambda f: shutil.rmtree(f / "truth"), 4, "cannot be listed (No such file or directory)"),
        (lambda f: [p.unlink() for p in (f / "truth").iterdir()], 4, "holds no images"),
        (lambda f: [p.rename(p.with_name(f"x{p.name}")) for p in (f / "good").iterdir()], 4, "no case could be"),
    ],
)
def test_what_cannot_be_read_is_named(folders: Path, cli: Cli, spoil, code: int, words: str) -> None:
    spoil(folders)
    done = cli("eval", folders / "good", folders / "truth")
    assert done.code == code
    assert words in done.err


def test_without_a_score_the_fault_of_a_case_that_all_have_is_named(folders: Path, cli: Cli) -> None:
    (folders / "good" / "extra.png").write_bytes((folders / "good" / "a.png").read_bytes())
    shutil.move(folders / "sources" / "a", folders / "other" / "z")
    done = cli("eval", folders / "good", folders / "truth", "--sources", folders / "other")
    assert done.code == 4
    assert "no case could be scored (a: the sources have no such case): name them as the ground truth" in done.err


def test_wrong_use_is_said_in_one_line(folders: Path, cli: Cli) -> None:
    assert "only one folder is given" in cli("eval", folders / "good").err
    twice = cli("eval", folders / "good", folders / "good", folders / "truth")
    assert (twice.code, "the same folder is given twice" in twice.err) == (2, True)
    assert cli("eval", folders / "truth", folders / "truth").code == 2
    weights = cli("eval", folders / "good", folders / "truth", "--lpips-weights", folders / "good" / "a.png")
    assert (weights.code, "cannot be read as weights" in weights.err) == (5, True)


def test_a_case_without_sources_is_left_out_when_sources_are_asked_for(folders: Path, cli: Cli) -> None:
    shutil.rmtree(folders / "sources" / "b")
    (folders / "sources" / "c" / "pet.png").unlink()
    report = scored(cli, folders / "good", folders / "truth", "--sources", folders / "sources", code=3)
    assert {*report["methods"]["good"]["per_case"]} == {"a", "d"}
    assert any("b: the sources have no such case" in problem for problem in report["problems"])


def test_sources_of_another_shape_are_refused_and_smaller_ones_are_said_to_be_resized(folders: Path, cli: Cli) -> None:
    for case in ("a", "b"):
        write_case(folders / "sources" / case, size=24)
    (folders / "sources" / "c" / "mr-t2.png").write_bytes(png(np.zeros((24, 48), np.uint8)))
    for name in ("mr-t1", "mr-t2", "pet"):
        (folders / "sources" / "d" / f"{name}.png").write_bytes(png(np.zeros((24, 48), np.uint8)))
    report = scored(cli, folders / "good", folders / "truth", "--sources", folders / "sources", code=3)
    assert {*report["methods"]["good"]["per_case"]} == {"a", "b"}
    assert any("expected 3 images of one size" in problem for problem in report["problems"])
    assert any("its sources are 48x24, its ground truth is 48x48" in problem for problem in report["problems"])
    assert "the sources of 2 cases were resized to the ground truth's size by bicubic" in report["definitions"]


def test_what_is_left_out_stands_in_every_form(folders: Path, cli: Cli) -> None:
    (folders / "good" / "a.png").unlink()
    done = cli("eval", folders / "good", folders / "truth", "-q", "-o", folders / "report")
    for said in (done.out, (folders / "report" / "table1.md").read_text()):
        assert "3 cases (others left out, see below)" in said
        assert "left out: a: good has no result for it" in said


def test_odd_folder_names_are_shown_as_they_are(folders: Path, cli: Cli) -> None:
    names = ["x [v1]", "x [v2]", "y[b]z", "a:smile:b", "minus", "methods"]
    odd = [shutil.copytree(folders / "good", folders / name) for name in names]
    for one in odd[:4]:
        assert one.name in cli("eval", one, folders / "truth").out
    done = cli("eval", *odd, folders / "truth", "-o", folders / "report")
    assert done.code == 0
    report = json.loads((folders / "report" / "eval.json").read_text())["paired_differences"]
    assert (report["minus"], list(report["methods"])) == (names[0], names[1:])


def test_an_output_that_cannot_be_is_refused_before_anything_is_scored(folders: Path, cli: Cli) -> None:
    (folders / "file").write_text("x")
    done = cli("eval", folders / "good", folders / "truth", "-o", folders / "file")
    assert (done.code, done.out, "file" in done.err) == (6, "", True)


def test_methods_are_called_by_what_tells_their_folders_apart() -> None:
    assert method_names([Path("/r/x2"), Path("/r/x4")]) == ("x2", "x4")
    assert method_names([Path("/ours/x4"), Path("/theirs/x4")]) == ("ours/x4", "theirs/x4")


BASELINE = {2: (29.37, 0.9391), 4: (24.71, 0.8340), 8: (20.63, 0.6550)}  # data/README.md, method (a), test split


@pytest.mark.slow
@pytest.mark.parametrize("scale", BASELINE)
def test_the_two_stage_baseline_is_the_measured_one(data: Path, tmp_path: Path, cli: Cli, scale: int) -> None:
    lines = ["id,m1,m2,functional,patient,split"]
    for row in csv.DictReader((data / "manifest.csv").read_text().splitlines()):
        if row["split"] == "test":
            files = [str(data / "groups" / row["id"] / f"{row[slot]}.png") for slot in ("m1", "m2", "functional")]
            lines.append(",".join([row["id"], *files, row["patient"], "test"]))
    (tmp_path / "test.csv").write_text("\n".join(lines))
    assert cli("prepare", tmp_path / "test.csv", "-o", tmp_path / "set", "--scales", scale).code == 0
    inputs = tmp_path / "set" / "test" / f"x{scale}"
    assert cli("fuse", inputs, "-o", tmp_path / "two", "--method", "bitonicx", "--scale", scale).code == 0
    report = scored(cli, tmp_path / "two", tmp_path / "set" / "test" / "truth")
    summary = report["methods"]["two"]["summary"]
    assert report["cases"] == 10
    assert summary["psnr"]["mean"] == pytest.approx(BASELINE[scale][0], abs=0.05)
    assert summary["ssim"]["mean"] == pytest.approx(BASELINE[scale][1], abs=0.001)


def write_volume(path: Path, slices: list[np.ndarray]) -> None:
    """An RGB volume (rows, columns) of slices as a radiologist sees them: x to the left, y to the back."""
    voxels = np.stack([image.swapaxes(0, 1) for image in slices], axis=2)
    rgb = np.ascontiguousarray(voxels).view([("R", "u1"), ("G", "u1"), ("B", "u1")])[..., 0]
    path.parent.mkdir(exist_ok=True)
    nib.Nifti1Image(rgb, np.diag([-1.0, -1, 1, 1])).to_filename(path)


def test_each_slice_of_a_volume_is_scored_against_its_own_truth_in_any_form(folders: Path, cli: Cli) -> None:
    images = {name: [read_file(folders / name / f"{case}.png")[0] for case in "abc"] for name in ("good", "truth")}
    for name, slices in images.items():
        write_volume(folders / f"{name}-volumes" / "v.nii.gz", slices)
        (folders / f"{name}-slices").mkdir()
        for number, image in enumerate(slices, 1):
            (folders / f"{name}-slices" / f"v-slice{number:03d}.png").write_bytes(png(image))
    expected = [peak_signal_noise_ratio(*pair) for pair in zip(images["truth"], images["good"], strict=True)]
    for good, truth in itertools.product(("good-volumes", "good-slices"), ("truth-volumes", "truth-slices")):
        report = scored(cli, folders / good, folders / truth)
        found = {case: scores["psnr"] for case, scores in report["methods"][good]["per_case"].items()}
        assert found == {f"v-slice{number:03d}": pytest.approx(expected[number - 1]) for number in (1, 2, 3)}
    # A volume of other slices is not paired by position.
    write_volume(folders / "short" / "v.nii.gz", images["good"][:2])
    done = cli("eval", folders / "short", folders / "truth-volumes")
    assert done.code == 4
    assert "is a volume of 2 slices, but its ground truth has 3" in done.err


def test_sources_that_are_sliced_in_another_plane_than_the_truth_are_refused(folders: Path, cli: Cli) -> None:
    """A cube of voxels has as many slices each way: only the planes tell that slice n is another one."""
    truth = np.random.default_rng(3).integers(0, 256, (8, 8, 8, 3)).astype(np.uint8)
    write_volume(folders / "truth-cube" / "v.nii.gz", list(truth))
    write_volume(folders / "ours-cube" / "v.nii.gz", list(truth))
    for thick, code in (((1.0, 1.0, 2.0), 0), ((1.0, 3.0, 1.0), 4)):
        place = folders / f"sources-{code}" / "v"
        place.mkdir(parents=True)
        for name in ("mr-t1", "mr-t2", "pet"):
            values = np.random.default_rng(len(name)).permuted(np.arange(512, dtype=np.int16)).reshape(8, 8, 8)
            nib.Nifti1Image(values + len(name) * (name != "mr-t2"), np.diag([*thick, 1.0])).to_filename(
                place / f"{name}.nii.gz"
            )
        done = cli("eval", folders / "ours-cube", folders / "truth-cube", "--sources", folders / f"sources-{code}")
        assert done.code == code, done.err
    assert "its sources are sliced in coronal planes, its ground truth in axial ones" in done.err


def test_volumes_at_different_places_are_scored_with_a_warning(folders: Path, cli: Cli) -> None:
    slices = [read_file(folders / "truth" / f"{case}.png")[0] for case in "abc"]
    for name in ("here", "same"):
        write_volume(folders / name / "v.nii.gz", slices)
    volume = nib.Nifti1Image.from_filename(folders / "here" / "v.nii.gz")
    (folders / "turned").mkdir()
    nib.Nifti1Image(volume.dataobj, np.eye(4)).to_filename(folders / "turned" / "v.nii.gz")
    words = "here and its ground truth, case v: their headers give different places; slices were compared in their"
    assert words in cli("eval", folders / "here", folders / "turned").err
    assert "different places" not in cli("eval", folders / "here", folders / "same").err


def test_results_and_ground_truth_in_each_others_place_give_a_warning(folders: Path, cli: Cli) -> None:
    shutil.move(folders / "truth", folders / "set" / "train" / "truth")
    (folders / "set" / "manifest.json").write_text(json.dumps({"recipe": {}, "complete": True}))
    truth = folders / "set" / "train" / "truth"
    assert "the ground truth comes last" not in cli("eval", folders / "good", truth).err
    assert "was made as ground truth: the ground truth comes last" in cli("eval", truth, folders / "good").err


def test_an_option_on_sources_needs_sources(folders: Path, cli: Cli) -> None:
    done = cli("eval", folders / "good", folders / "truth", "--window", "0:80")
    assert done.code == 2
    assert "--window: is for the sources, and none are given" in done.err
