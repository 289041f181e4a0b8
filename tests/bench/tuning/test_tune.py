"""The search for recipes: made networks whose best recipe is known, and every rule against brute force."""

import dataclasses
import json
import os
import shutil
from itertools import product
from pathlib import Path

import numpy as np
import pytest
from numpy.random import Generator

from support.helpers import Cli, NumpyEngine, model_spec, png, write_case
from tfs_rt.batch.samples import sample_ids
from tfs_rt.errors import EnvironmentFault, UsageError
from tfs_rt.facts import from_dict
from tfs_rt.images import Array, resize
from tfs_rt.methods.diffusion import load_pipeline
from tfs_rt.models.bundle import load_bundle
from tfs_rt.models.manifest import Manifest, write_manifest
from tfs_rt.sampling.engine import Engine, ImageBatch
from tfs_rt.sampling.stepwise import fuse_batch
from tfs_rt.sampling.tables import step_table
from tfs_rt.spec import Accuracy, Recipe, Tier
from tfs_rt_bench.tuning import choice as tuning_choice
from tfs_rt_bench.tuning import search as tuning_search
from tfs_rt_bench.tuning import tune as tuning
from tfs_rt_bench.tuning.cases import CaseWithTruth, Source, known_cases
from tfs_rt_bench.tuning.choice import LOSS, front, survivors, tiers, within_budget
from tfs_rt_bench.tuning.grid import SAMPLERS, STEPS, chains, nearby, sigmas
from tfs_rt_bench.tuning.search import affordable, search
from tfs_rt_bench.tuning.trials import CachingEngine, Point, Score, Trials
from tfs_rt_bench.tuning.tune import Request, tune, write_tiers
from tfs_rt_reference.data.groups import low_resolution, read_groups

SPEC = model_spec(prediction="x0", sigma_range=(2.0, 80.0))
OWN = Recipe(sampler="ddim", steps=1, eta=0.0, spacing="log-snr", sigma_max=80.0, sigma_min=2.0)


def cases(rng: Generator, count: int, side: int = 6) -> list[CaseWithTruth]:
    """Cases whose truth is their functional image, which lies at half the scale that the network sees."""
    images = [tuple(rng.integers(60, 190, (side, side, 3)).astype(np.uint8) for _ in range(3)) for _ in range(count)]
    return [CaseWithTruth(f"k{i}", of, resize(of[-1], (4 * side, 4 * side))) for i, of in enumerate(images)]


def wrong_by(amount: float, best: float, noise: float = 0.0) -> Engine:
    """A network that answers the truth, off by `amount` in each pixel for every e-fold of sigma away from `best`."""

    def predict(condition: Array, x_t: Array, level: Array) -> Array:
        sigma = np.sqrt(1 / level.astype(np.float64) ** 2 - 1)
        off = amount * (1 + np.abs(np.log(sigma / best)))[..., None, None]
        return (condition[:, -3:] + off + noise * x_t).astype(np.float32)

    return NumpyEngine(SPEC, predict)


def made_point(steps: int, samples: int, psnr: float, ssim: float, sharpness: float) -> Point:
    recipe = dataclasses.replace(OWN, steps=steps, sigma_max=40 + psnr)
    return Point(recipe, samples, (Score(psnr, ssim, sharpness, 1.0),))


def made_points(rng: Generator, count: int) -> list[Point]:
    """Points with ties in each of what they are chosen by."""
    found = []
    for _ in range(count):
        psnr, ssim = round(25 + rng.normal(0, 0.3), 2), round(0.85 + rng.normal(0, 0.004), 3)
        cost = (int(rng.choice([1, 2, 4, 8])), int(rng.choice([1, 2, 4])))
        found.append(made_point(*cost, psnr, ssim, round(0.7 + rng.normal(0, 0.1), 2)))
    return found


def test_no_two_chains_of_the_grid_compute_the_same_and_none_is_left_out() -> None:
    found = chains(SPEC, OWN)
    assert found[0] == OWN
    tables = {step_table(SPEC, recipe).rows.tobytes() for recipe in found}
    assert len(tables) == len(found)
    levels = [2.0, 5.0, 20.0, 80.0]
    assert sigmas(SPEC, OWN) == levels
    every = set()
    for steps, (sampler, eta), low, high in product(STEPS, SAMPLERS, levels, levels):
        if low <= high and (low < high or steps == 1):
            ends = {"sigma_min": low, "sigma_max": high}
            recipe = dataclasses.replace(OWN, steps=steps, sampler=sampler, eta=eta, **ends)
            every.add(step_table(SPEC, recipe).rows.tobytes())
    assert tables == every


@pytest.mark.parametrize("trained", [(2.0, 80.0), (0.001, 22800.0), (3.0, 50.0), (7.0, 7.0)])
def test_every_chain_stays_within_the_trained_noise_levels(trained: tuple[float, float]) -> None:
    spec = dataclasses.replace(SPEC, sigma_range=trained)
    own = dataclasses.replace(OWN, sigma_max=min(80.0, trained[1]), sigma_min=max(2.0, trained[0]))
    grid = chains(spec, own)
    finer = [near for recipe in grid for near in nearby(recipe, sigmas(spec, own))]
    for recipe in (*grid, *finer):
        step_table(spec, recipe)  # which refuses what leaves the range
    if trained[0] == trained[1]:
        assert {recipe.steps for recipe in grid} == {1}


def test_finer_sigmas_lie_half_way_between_neighbours() -> None:
    found = list(nearby(dataclasses.replace(OWN, sigma_max=5.0), [2.0, 5.0, 20.0, 80.0]))
    assert [near.sigma_max for near in found] == [pytest.approx(10**0.5), pytest.approx(10.0)]
    two = dataclasses.replace(OWN, steps=2, sigma_max=20.0, sigma_min=5.0)
    ends = {(round(near.sigma_max, 3), round(near.sigma_min, 3)) for near in nearby(two, [2.0, 5.0, 20.0, 80.0])}
    assert ends == {(10.0, 5.0), (40.0, 5.0), (20.0, 3.162), (20.0, 10.0)}


def test_what_is_remembered_changes_no_bit(rng: Generator) -> None:
    known, engine = cases(rng, 2), wrong_by(0.02, 5.0, noise=0.05)
    trials = Trials(CachingEngine(engine), known, seed=3)
    recipes = chains(SPEC, OWN)[:30]
    points = trials.points([(recipe, count) for recipe in recipes for count in (1, 2, 4)], [0, 1])
    for point in points[:: len(points) // 12]:
        for case, score in zip(known, point.scores, strict=True):
            table, ids = step_table(SPEC, point.recipe), sample_ids(case.id, point.samples)
            batches = [ImageBatch([case.images], [i], size=case.size, seed=3) for i in ids]
            made = [fuse_batch(engine, table, batch)[0] for batch in batches]
            mean = np.rint(np.mean(np.array(made, dtype=np.float64), axis=0))
            error = np.mean((mean - case.truth) ** 2)
            assert score.psnr == pytest.approx(10 * np.log10(255**2 / error), abs=1e-9)
    made = 2 * 4 * sum(recipe.steps for recipe in recipes)
    assert trials.engine.made + trials.engine.saved == made
    firsts = {recipe.sigma_max for recipe in recipes}
    assert trials.engine.made == made - 2 * 4 * (len(recipes) - len(firsts))  # one first call for each start


def test_psnr_follows_the_networks_formula_and_the_known_best_is_found(rng: Generator) -> None:
    trials = Trials(CachingEngine(wrong_by(0.02, 10.0)), cases(rng, 4))
    found = search(trials, OWN, 16)
    chosen = tiers(found.points)
    assert chosen["best"].recipe.steps == 1
    assert chosen["best"].recipe.sigma_max == pytest.approx(10.0)  # on no grid point, but half-way between two
    assert chosen["best"].psnr == pytest.approx(20 * np.log10(255 / 3))  # 0.02 of 127.5, rounded to levels
    assert chosen["best"].samples == 1  # nothing to average
    assert chosen["fast"] == chosen["best"]
    for point in found.grid:
        last = point.recipe.sigma_max if point.recipe.steps == 1 else point.recipe.sigma_min
        levels = round(127.5 * 0.02 * (1 + abs(np.log(last / 10))))
        assert point.psnr == pytest.approx(20 * np.log10(255 / levels))


@pytest.mark.parametrize("noise", [0.0, 0.02])
def test_the_search_finds_what_trying_everything_finds(rng: Generator, noise: float) -> None:
    known, engine, most = cases(rng, 2), wrong_by(0.01, 10.0, noise), 2
    recipes = [recipe for recipe in chains(SPEC, OWN) if recipe.steps <= most]
    recipes += [near for recipe in recipes for near in nearby(recipe, sigmas(SPEC, OWN))]
    asked = [(r, k) for r in dict.fromkeys(recipes) for k in (1, 2) if r.steps * k <= most]
    by_force = tiers(Trials(CachingEngine(engine), known).points(asked, range(2)))
    by_search = tiers(search(Trials(CachingEngine(engine), known), OWN, most).points)
    for name in ("fast", "best"):
        assert by_search[name].psnr == pytest.approx(by_force[name].psnr, abs=0.01)
        assert by_search[name].calls == by_force[name].calls


def test_averaging_is_found_where_it_pays(rng: Generator) -> None:
    found = search(Trials(CachingEngine(wrong_by(0.002, 80.0, noise=0.2)), cases(rng, 2)), OWN, 8)
    best = tiers(found.points)["best"]
    assert (best.samples, best.calls) == (8, 8)
    alone = next(p for p in found.points if p.recipe == best.recipe and p.samples == 1)
    assert best.psnr > alone.psnr + 3


def test_the_front_is_what_brute_force_says(rng: Generator) -> None:
    def beats(a: Point, b: Point) -> bool:
        one, other = ((p.calls, -round(p.psnr, 2), round(abs(p.sharpness - 1), 2)) for p in (a, b))
        return all(x <= y for x, y in zip(one, other, strict=True)) and one != other

    for _ in range(10):
        points = made_points(rng, 40)
        kept = front(points)
        figures = {(p.calls, p.psnr, p.sharpness) for p in points if not any(beats(other, p) for other in points)}
        assert {(p.calls, p.psnr, p.sharpness) for p in kept} == figures
        assert [p.calls for p in kept] == sorted(p.calls for p in kept)


def test_the_tiers_follow_their_rules_by_brute_force(rng: Generator) -> None:
    for _ in range(50):
        points = made_points(rng, 30)
        chosen = tiers(points)
        top = max(p.psnr for p in points)
        equal = [p for p in points if p.psnr > top - 0.01]
        assert chosen["best"].calls == min(p.calls for p in equal)
        best = chosen["best"]
        near = [p for p in points if p == best or (p.psnr >= best.psnr - 0.1 and p.ssim >= best.ssim - 0.005)]
        assert chosen["fast"] in near
        assert chosen["fast"].calls == min(p.calls for p in near)
        far = [p for p in points if p == best or (p.psnr >= best.psnr - 0.5 and p.ssim >= best.ssim - 0.01)]
        least = min(abs(1 - p.sharpness) for p in far)
        sharp = [p for p in far if abs(1 - p.sharpness) < least + 0.01]
        assert chosen["balanced"] in sharp
        assert chosen["balanced"].calls == min(p.calls for p in sharp)
        for calls in (1, 2, 4, 8, 32):
            affordable = [p for p in points if p.calls <= calls]
            picked = within_budget(points, calls)
            assert (picked is None) == (not affordable)
            if picked:
                assert picked.psnr > max(p.psnr for p in affordable) - 0.01


def test_survivors_keep_the_best_of_every_number_of_steps(rng: Generator) -> None:
    points = made_points(rng, 60)
    kept = survivors(points, 2)
    for steps in {p.recipe.steps for p in points}:
        own = sorted((p for p in points if p.recipe.steps == steps), key=lambda p: -p.psnr)
        assert set(own[:2]) <= set(kept)
    assert tiers(kept)["best"].psnr == tiers(points)["best"].psnr
    assert len(kept) <= 4 * len({p.recipe.steps for p in points})


def test_a_budget_is_kept_and_one_too_small_is_refused(rng: Generator) -> None:
    assert affordable(1.0, 0.25) == 4
    assert affordable(0.99, 0.25) == 3
    with pytest.raises(UsageError, match=r"--budget: 0.1 s are less than one network call"):
        affordable(0.1, 0.25)
    for most in (1, 3):
        found = search(Trials(CachingEngine(wrong_by(0.01, 5.0, noise=0.1)), cases(rng, 2)), OWN, most)
        assert max(point.calls for point in found.points) <= most


def test_bare_noise_is_tried_from_x_init_zero(rng: Generator) -> None:
    known, engine = cases(rng, 1), wrong_by(0.01, 2.0, noise=0.5)
    recipe = dataclasses.replace(OWN, sigma_max=2.0)
    trials = Trials(CachingEngine(engine), known)
    (bare,) = trials.points([(recipe, 1)], [0], warm=False)
    (warm,) = trials.points([(recipe, 1)], [0])
    table = dataclasses.replace(step_table(SPEC, recipe), start_x0=0.0)
    image = fuse_batch(engine, table, ImageBatch([known[0].images], ["k0"], size=known[0].size))[0]
    assert bare.scores[0].psnr == pytest.approx(
        10 * np.log10(255**2 / np.mean((image - known[0].truth.astype(float)) ** 2))
    )
    assert bare.psnr != warm.psnr


@pytest.fixture
def small(x4: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the shipped model without tiers, and a search that is short."""
    monkeypatch.setattr(tuning_search, "chains", lambda spec, own: chains(spec, own)[:3])
    monkeypatch.setattr(tuning_search, "KEPT", (1, 1, 1))
    monkeypatch.setattr(tuning_search, "SAMPLES", (1, 2))
    monkeypatch.setattr(tuning, "CALLS", (1, 2))
    monkeypatch.setattr(tuning, "RUNS", 1)
    monkeypatch.setattr(tuning, "LONG", 0.0)
    shutil.copytree(x4, tmp_path / "x4")
    write_manifest(tmp_path / "x4", dataclasses.replace(load_bundle(x4).manifest, tiers={}))
    return tmp_path / "x4"


@pytest.fixture
def quick(small: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The same, computed by a formula."""
    monkeypatch.setattr(tuning, "load_engine", lambda backend, bundle: wrong_by(0.01, 10.0, noise=0.01))
    return small


def test_tiers_are_searched_written_and_used(small: Path, made_set: Path, tmp_path: Path, cli: Cli) -> None:
    before = load_bundle(small)
    done = cli("tune", small, "--data", made_set, "-o", tmp_path / "report", "--json")
    assert done.code == 0, done.err
    assert load_bundle(small).digest == before.digest  # without --write nothing is written
    (told,) = json.loads(done.out)
    assert json.loads((tmp_path / "report" / "tuning.json").read_text())["models"] == [told]
    page = (tmp_path / "report" / "tuning.md").read_text()
    for words in ("## x4", "(tuning-x4.svg)", "| `balanced` |", "Made by `tfs-rt tune x4 --data SET -o REPORT`"):
        assert words in page
    assert str(tmp_path) not in page
    assert (tmp_path / "report" / "tuning-x4.svg").read_text().startswith("<svg")
    assert cli("tune", small, "--data", made_set, "-o", tmp_path / "report", "--write", "-q").code == 0
    after = load_bundle(small)
    assert set(after.manifest.tiers) == {"fast", "balanced", "best"}
    assert dataclasses.replace(after.manifest, tiers={}) == before.manifest
    best, (group,) = after.manifest.tiers["best"], read_groups(made_set, "val")
    pipeline = load_pipeline(small, backend="ort-cpu", recipe=lambda own: best.recipe)
    ids = sample_ids(group.id, best.samples)
    images = [pipeline.fuse([group.degraded(4)], [i], size=group.size)[0] for i in ids]
    error = np.mean((np.rint(np.mean(np.array(images, float), axis=0)) - group.truth) ** 2)
    assert best.accuracy["val"].psnr == pytest.approx(10 * np.log10(255**2 / error), abs=1e-3)
    assert best.accuracy["val"].cases == 1
    shown = cli("inspect", small)
    assert "best: ddim, 1 step" in shown.out
    assert json.loads(cli("inspect", small, "--json").out)["tiers"]["best"]["samples"] == best.samples


def tiered(folder: Path, **recipes: tuple[Recipe, int]) -> Path:
    """A bundle with tiers made by hand."""
    accuracy = {"val": Accuracy(psnr=25.0, ssim=0.8, sharpness=0.7, cases=1)}
    facts = {"accuracy": accuracy, "seconds": 0.1, "size": (64, 64), "machine": "made"}
    made = {name: Tier(recipe=recipe, samples=samples, **facts) for name, (recipe, samples) in recipes.items()}
    write_manifest(folder, dataclasses.replace(load_bundle(folder).manifest, tiers=made))
    return folder


def test_quality_takes_the_tiers_recipe_as_options_would(small: Path, tmp_path: Path, cli: Cli) -> None:
    write_case(tmp_path / "in" / "a")
    four = dataclasses.replace(OWN, steps=4, sampler="dpmpp-2m")
    low = dataclasses.replace(OWN, sigma_max=3.0)
    tiered(small, fast=(OWN, 1), balanced=(low, 1), best=(four, 2))

    def fused(name: str, *options: object) -> tuple[dict, bytes]:
        done = cli("fuse", tmp_path / "in", "-o", tmp_path / name, "--model", small, *options)
        assert done.code == 0, done.err
        return json.loads((tmp_path / name / "a.json").read_text()), (tmp_path / name / "a.png").read_bytes()

    for quality, options in (("fast", ()), ("best", ("--steps", 4, "--sampler", "dpmpp-2m", "--samples", 2))):
        by_tier, image = fused(quality, "--quality", quality)
        by_options, same = fused(f"{quality}2", *options)
        assert by_tier["recipe_sha256"] == by_options["recipe_sha256"]
        assert image == same
    facts, _ = fused("balanced", "--quality", "balanced")
    assert facts["recipe"] == dataclasses.asdict(low)


@pytest.mark.slow
def test_workers_take_the_tiers_recipe(small: Path, tmp_path: Path, cli: Cli) -> None:
    write_case(tmp_path / "in" / "a")
    tiered(small, fast=(OWN, 1), balanced=(OWN, 1), best=(OWN, 2))
    sharded = cli("fuse", tmp_path / "in", "-o", tmp_path / "w", "--model", small, "--quality", "best", "--workers", 2)
    assert sharded.code == 0, sharded.err
    assert json.loads((tmp_path / "w" / "a.json").read_text())["samples"] == 2


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--steps", 2), "--steps: --quality fast decides it: leave one of the two options out"),
        (("--sampler", "ddim"), "--sampler: --quality fast decides it"),
        (("--eta", 0), "--eta: --quality fast decides it"),
        (("--spacing", "t"), "--spacing: --quality fast decides it"),
        (("--samples", 1), "--samples: --quality fast decides it"),
        ((), "--quality: "),  # no tiers
        (("--method", "bitonicx"), "--quality: --method bitonicx does not take this option"),
    ],
)
def test_what_quality_decides_cannot_be_given(
    small: Path, tmp_path: Path, cli: Cli, options: tuple, words: str
) -> None:
    write_case(tmp_path / "in" / "a")
    model = () if "--method" in options else ("--model", small)
    done = cli("fuse", tmp_path / "in", "-o", tmp_path / "out", *model, "--quality", "fast", *options)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert words in done.err
    if not options:
        assert f"has no tiers: make them: tfs-rt tune {small} --data SET -o REPORT --write" in done.err
    assert not (tmp_path / "out").exists()


def test_writing_tiers_is_atomic_and_idempotent(quick: Path, made_set: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tuned = tune(Request(quick, Source(made_set)))
    before = (quick / "model.json").read_bytes()

    def full(self: Path, target: Path) -> Path:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(EnvironmentFault, match="cannot be written"):
            write_tiers(tuned)
    assert (quick / "model.json").read_bytes() == before
    assert sorted(path.name for path in quick.iterdir() if path.name.startswith(".")) == []
    assert write_tiers(tuned)
    written = (quick / "model.json").read_bytes()
    again = tune(Request(quick, Source(made_set)))
    assert again.tiers["best"].recipe == tuned.tiers["best"].recipe
    assert not write_tiers(again)  # only the time differs
    assert (quick / "model.json").read_bytes() == written
    with pytest.raises(UsageError, match="was changed while it was tuned"):
        write_tiers(tuned)


def test_the_test_split_is_measured_once_and_chooses_nothing(
    quick: Path, made_set: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Source, "has_test", True)
    monkeypatch.setattr(
        tuning, "known_cases", lambda source, scale, split=None: known_cases(source, scale, split and "train")
    )
    with_test = tune(Request(quick, Source(made_set)))
    assert {name: a.cases for name, a in with_test.tiers["best"].accuracy.items()} == {"val": 1, "test": 2}


def test_a_manifest_without_tiers_is_read_as_before(small: Path) -> None:
    data = json.loads((small / "model.json").read_text())
    assert data.pop("tiers") == {}
    del data["digest"]
    assert from_dict(Manifest, data).tiers == {}
    assert dataclasses.asdict(from_dict(Manifest, data)) == dataclasses.asdict(load_bundle(small).manifest)


@pytest.mark.parametrize(
    "tiers",
    [{"good": {}}, {"fast": {}}, {"best": {}, "balanced": {}, "fast": {}}],
)
def test_tiers_of_other_names_are_refused(small: Path, tiers: dict) -> None:
    manifest = load_bundle(small).manifest
    with pytest.raises(ValueError, match="tiers are"):
        dataclasses.replace(manifest, tiers=tiers)


def cases_with_truth(folder: Path, rng: Generator, *, side: int = 64) -> None:
    write_case(folder / "in" / "a")
    (folder / "truth").mkdir()
    (folder / "truth" / "a.png").write_bytes(png(rng.integers(0, 256, (side, side, 3)).astype(np.uint8)))


def test_cases_that_are_no_set_are_paired_by_name_with_their_ground_truth(
    quick: Path, tmp_path: Path, rng: Generator, cli: Cli
) -> None:
    cases_with_truth(tmp_path, rng)
    options = ("--data", tmp_path / "in", "--ground-truth", tmp_path / "truth", "-o", tmp_path / "report")
    done = cli("tune", quick, *options, "--json")
    assert done.code == 0, done.err
    (told,) = json.loads(done.out)
    assert (told["split"], told["size"]) == ("cases", [64, 64])
    assert list(told["tiers"]["best"]["accuracy"]) == ["cases"]


def test_a_sets_cases_are_degraded_as_prepare_degrades_them(made_set: Path) -> None:
    (case,), (group,) = known_cases(Source(made_set), 8), read_groups(made_set, "val")
    for image, source in zip(case.images, group.sources, strict=True):
        assert (image == low_resolution(source, 8)).all()
    assert (case.truth == group.truth).all()


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (("{x4}", "--data", "{set}", "--split", "dev"), 3, "holds no case of split 'dev'"),
        (("{x4}", "--data", "{set}", "--ground-truth", "{in}"), 2, "is a set and holds its own"),
        (("{x4}", "--data", "{in}"), 2, "--ground-truth: {in} is not a set of tfs-rt prepare"),
        (("{x4}", "--data", "{in}", "--ground-truth", "{truth}", "--split", "val"), 2, "--split: {in} is not a set"),
        (("{x4}", "--data", "{in}", "--ground-truth", "{empty}"), 4, "holds no images"),
        (("{x4}", "--data", "{in}", "--ground-truth", "{small}"), 3, "is 32x32, and the result 64x64"),
        (("{x4}", "--data", "{in}", "--ground-truth", "{others}"), 3, "case a: has no ground truth"),
        (("{x4}", "--data", "{in}", "--ground-truth", "{black}"), 3, "its ground truth is constant"),
        (("{x4}", "--data", "{empty}", "--ground-truth", "{truth}"), 4, "no case in this folder"),
        (("{x4}", "--data", "{empty}/none"), 4, "no such file or folder"),
        (("{x4}", "--data", "{set}", "--budget", "soon"), 2, "--budget: 'soon' is not a list of seconds"),
        (("{x4}", "--data", "{set}", "--budget", "1,-2"), 2, "--budget: '1,-2' is not a list of seconds"),
        (("{x4}", "--data", "{set}", "--budget", "nan"), 2, "--budget: 'nan' is not a list of seconds"),
        (("{x4}", "--data", "{set}", "--budget", "1e-9"), 2, "s are less than one network call takes here"),
        (("{empty}", "--data", "{set}"), 5, "no bundle there"),
        (("tfs-rt/x3", "--data", "{set}"), 5, "no such model ships"),
        (("{x4}", "{x4}", "--data", "{set}"), 2, "'x4' would name two models"),
    ],
)
def test_nonsense_ends_in_one_line(
    quick: Path, made_set: Path, tmp_path: Path, cli: Cli, arguments: tuple, code: int, words: str
) -> None:
    rng = np.random.default_rng(0)
    cases_with_truth(tmp_path, rng)
    for name, side in (("small", 32), ("others", 64), ("black", 64), ("empty", 0)):
        (tmp_path / name).mkdir()
        if side:
            noise = rng.integers(0, 256, (side, side, 3)) * (name != "black")
            case = "b" if name == "others" else "a"
            (tmp_path / name / f"{case}.png").write_bytes(png(noise.astype(np.uint8)))
    places = {"x4": quick, "set": made_set} | {
        n: tmp_path / n for n in ("in", "truth", "empty", "small", "others", "black")
    }
    done = cli("tune", *(word.format(**places) for word in arguments), "-o", tmp_path / "report", "-q")
    assert (done.code, done.err.count("\n")) == (code, 1), done.err
    assert words.format(**places) in done.err
    assert "Traceback" not in done.err


def test_a_model_of_one_image_is_refused(small: Path, made_set: Path, tmp_path: Path, cli: Cli) -> None:
    manifest = load_bundle(small).manifest
    single = dataclasses.replace(manifest.model.architecture, in_channel=6, gate="none")
    one = dataclasses.replace(
        manifest, slots=("image",), model=dataclasses.replace(manifest.model, architecture=single)
    )
    write_manifest(small, one)
    done = cli("tune", small, "--data", made_set, "-o", tmp_path / "report")
    assert done.code == 5
    assert "takes 1 image, not the three of a fusion" in done.err


def test_a_bundle_that_cannot_be_written_is_found_out_first(
    small: Path, made_set: Path, tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != small)
    monkeypatch.setattr(tuning, "search", lambda *_: pytest.fail("searched"))
    done = cli("tune", small, "--data", made_set, "-o", tmp_path / "report", "--write", "-q")
    assert (done.code, done.err.count("\n")) == (6, 1)
    assert "copy the bundle and tune the copy, or leave out --write" in done.err


def test_unknown_quality_is_refused(tmp_path: Path, cli: Cli) -> None:
    done = cli("fuse", tmp_path, "-o", tmp_path / "out", "--quality", "superb")
    assert done.code == 2
    assert "superb" in done.err


def test_the_definitions_in_the_help_are_those_that_choose(cli: Cli) -> None:
    words = " ".join(cli("tune", "--help").out.replace("│", " ").split())
    for loss in LOSS.values():
        assert f"at most {loss.psnr:g} dB" in words
        assert f"{loss.ssim:g} " in words
    assert tuning_choice.SAME_PSNR == 0.01


@pytest.mark.parametrize("scale", [2, 4, 8])
def test_the_shipped_models_have_tiers_no_worse_than_their_own_recipe(scale: int) -> None:
    manifest = load_bundle(f"tfs-rt/x{scale}").manifest
    for split, figures in manifest.quality.items():
        best, fast = (manifest.tiers[name].accuracy[split] for name in ("best", "fast"))
        assert best.psnr >= figures["psnr"] - tuning_choice.SAME_PSNR
        assert fast.psnr >= best.psnr - LOSS["fast"].psnr
        assert best.cases == figures["cases"]
