"""Faults of one line that the tests must notice.

    python tests/mutants.py [WORD...]     try all, or those whose name holds one of the words

Each fault is put into a copy of the sources, and the tests that are named for it run there. The working tree is not
touched. Exit code 0 if each fault was caught.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = (".", "export", "reference", "bench")
SECONDS = 300.0  # for the tests of one fault
LINKED = ("engines", "docs", "examples")  # large, and never written to by a test
SAMPLING = ("tests/sampling",)
BUNDLE = ("tests/models/test_bundle.py", "-k", "flipped or edited")
DICOM_WINDOW = ("tests/formats/dicom/test_window.py",)
FLUSHED = ("tests/promises/test_crashes.py", "-k", "flushed_before_it_is_renamed")
FLIPPED_BITS = ("tests/promises/test_crashes.py", "-k", "verify_finds_every_flipped_bit")
SANDBOX = ("tests/sandbox/test_limits.py", "-k", "landlock or network or all_parts")
ENDS = {None: "too slow", 0: "survived", 1: "caught"}  # what an exit code of pytest says of a fault
LEFT_OUT = (".*", "__pycache__", "build", "dist", "results", "*.egg-info", *LINKED)


@dataclass(frozen=True)
class Mutant:
    """A fault: the text `old`, which stands once in a file, becomes `new`; `tests` are arguments of pytest."""

    name: str
    file: str
    old: str
    new: str
    tests: tuple[str, ...]


class Outcome(NamedTuple):
    """Exit code of a run of pytest, and its number of passed tests."""

    code: int | None  # pytest's; None if it took too long
    passed: int  # tests


MUTANTS = (
    Mutant(
        "an infinity of the network is clipped to a plausible pixel",
        "tfs_rt/sampling/engine.py",
        "abs(unclipped) < inf",
        "abs(unclipped) <= inf",
        ("tests/methods/test_diffusion.py", "-k", "an_infinity_does_not_become_a_pixel"),
    ),
    Mutant(
        "images are padded by their edge, not by reflection",
        "tfs_rt/sampling/stepwise.py",
        'mode="reflect"',
        'mode="edge"',
        ("tests/methods/test_diffusion.py", "-k", "padding_mirrors_the_image"),
    ),
    Mutant(
        "Landlock is off",
        "tfs_rt/sandbox/limits.py",
        "    if version < 1:",
        "    if version:",
        SANDBOX,
    ),
    Mutant(
        "Landlock lets files be truncated",
        "tfs_rt/sandbox/limits.py",
        "(1 << RIGHTS.get(version, 16)) - 1 & ~READ",
        "(1 << RIGHTS.get(version, 16)) - 1 & ~READ & ~(1 << 14)",
        SANDBOX,
    ),
    Mutant(
        "the child keeps the network",
        "tfs_rt/sandbox/limits.py",
        "libc.unshare(NEW_NETWORK) == 0",
        "True",
        SANDBOX,
    ),
    Mutant(
        "no self-test at the end of a run",
        "tfs_rt/batch/execute.py",
        "        if self.untested:",
        "        if False:",
        ("tests/batch/test_execute.py",),
    ),
    Mutant(
        "a self-test every 10^9 cases",
        "tfs_rt/batch/execute.py",
        "SELF_TEST_EVERY = 200",
        "SELF_TEST_EVERY = 10**9",
        ("tests/batch/test_execute.py",),
    ),
    Mutant(
        "the journal is opened through a link",
        "tfs_rt/batch/journal.py",
        'getattr(os, "O_NOFOLLOW", 0)',
        "0",
        ("tests/promises/test_crashes.py", "-k", "journal or link"),
    ),
    Mutant(
        "callers of one network do not wait for each other",
        "tfs_rt/backends/winograd/network.py",
        "        with self.lock:",
        "        if True:",
        ("tests/backends/winograd/test_network.py", "-k", "one_call_at_a_time"),
    ),
    Mutant(
        "attributes of a graph may be graphs",
        "tfs_rt/models/onnx/allowed.py",
        "ATTRIBUTE = {*range(1, 6), *range(7, 10), 13, 20}",
        "ATTRIBUTE = {*range(1, 10), 11, 13, 20}",
        ("tests/promises/test_hostile_models.py", "-k", "hostile_graph_is_refused and attribute"),
    ),
    Mutant(
        "a network's file is read whatever its hash",
        "tfs_rt/models/bundle.py",
        "if hashlib.sha256(data).hexdigest() != entry.sha256:",
        "if False:",
        BUNDLE,
    ),
    Mutant(
        "a manifest is read whatever its hash",
        "tfs_rt/models/manifest.py",
        "if digest != _digest(data):",
        "if False:",
        BUNDLE,
    ),
    Mutant(
        "a compiled engine is used whatever its hash",
        "tfs_rt/backends/cache.py",
        "if hashlib.sha256(data).hexdigest() != self.sha256:",
        "if False:",
        ("tests/backends/test_cache.py", "-k", "damaged"),
    ),
    Mutant(
        "verify accepts any image",
        "tfs_rt/batch/verify.py",
        "if path_sha256(path) != sha256:",
        "if False:",
        FLIPPED_BITS,
    ),
    Mutant(
        "a sidecar is read whatever its own hash",
        "tfs_rt/output/sidecar.py",
        " or own_digest != digest(facts)",
        "",
        FLIPPED_BITS,
    ),
    Mutant(
        "a file is not flushed before it is renamed",
        "tfs_rt/system/files.py",
        "piece)\n        os.fsync(descriptor)",
        "piece)",
        FLUSHED,
    ),
    Mutant(
        "a folder is not flushed after a file in it was renamed",
        "tfs_rt/system/files.py",
        "temporary.unlink(missing_ok=True)\n            raise\n        sync_folder(path.parent)\n",
        "temporary.unlink(missing_ok=True)\n            raise\n",
        FLUSHED,
    ),
    Mutant(
        "the first pixel's centre stays when pixels become smaller",
        "tfs_rt/formats/dicom/placement.py",
        "(column_step - spacing[1]) / 2",
        "0",
        ("tests/formats/dicom/test_placement.py", "-k", "corners"),
    ),
    Mutant(
        "a folder is written in its place, not beside it",
        "tfs_rt/system/files.py",
        "_write(temporary / name, data, 0o666)",
        "path.mkdir(exist_ok=True)\n                _write(path / name, data, 0o666)",
        ("tests/output/test_results.py", "-k", "stopped"),
    ),
    Mutant(
        "red and blue are exchanged",
        "tfs_rt/images.py",
        "np.ascontiguousarray(image.transpose(2, 0, 1))",
        "np.ascontiguousarray(image[..., ::-1].transpose(2, 0, 1))",
        ("tests/test_images.py",),
    ),
    Mutant(
        "levels are cut off, not rounded",
        "tfs_rt/images.py",
        "np.rint((x.clip(-1, 1)",
        "np.trunc((x.clip(-1, 1)",
        ("tests/test_images.py",),
    ),
    Mutant(
        "the schedule begins one step late",
        "tfs_rt/sampling/tables.py",
        "np.linspace(len(trained) - 1, 0, recipe.steps)",
        "np.linspace(len(trained) - 2, 0, recipe.steps)",
        SAMPLING,
    ),
    Mutant(
        "the last step does not end on the clean image",
        "tfs_rt/sampling/tables.py",
        "np.append(alpha_bar[1:], 1.0)",
        "np.append(alpha_bar[1:], alpha_bar[-1])",
        SAMPLING,
    ),
    Mutant(
        "the second order takes the ratio of steps upside down",
        "tfs_rt/sampling/tables.py",
        "h[1:] / (2 * h[:-1])",
        "h[:-1] / (2 * h[1:])",
        SAMPLING,
    ),
    Mutant(
        "v has the wrong sign",
        "tfs_rt/sampling/tables.py",
        "return np.sqrt(alpha_bar), -np.sqrt(1 - alpha_bar)",
        "return np.sqrt(alpha_bar), np.sqrt(1 - alpha_bar)",
        SAMPLING,
    ),
    Mutant(
        "x_0 is not clipped",
        "tfs_rt/sampling/engine.py",
        "x_0 = unclipped.clip(-1, 1)",
        "x_0 = unclipped.clip(-9, 9)",
        SAMPLING,
    ),
    Mutant(
        "the seed is ignored",
        "tfs_rt/sampling/noise.py",
        "{seed}",
        "{0}",
        SAMPLING,
    ),
    Mutant(
        "a uniform number is off by half a step",
        "tfs_rt/sampling/noise.py",
        "((words[part] & 0xFFFFFFFF) + 0.5)",
        "((words[part] & 0xFFFFFFFF) + 1.0)",
        SAMPLING,
    ),
    Mutant(
        "the warm start takes the mean of the images, not the brightest",
        "tfs_rt/sampling/loop.py",
        "luma.max(axis=1)",
        "luma.mean(axis=1)",
        SAMPLING,
    ),
    Mutant(
        "a DICOM window is off by half a value",
        "tfs_rt/formats/dicom/voi.py",
        "low = centre - width / 2",
        "low = centre - width / 2 + 0.5",
        DICOM_WINDOW,
    ),
    Mutant(
        "MONOCHROME1 is not inverted",
        "tfs_rt/formats/dicom/window.py",
        "levels = 255 - levels",
        "levels = levels",
        DICOM_WINDOW,
    ),
    Mutant(
        "DICOM padding is not black",
        "tfs_rt/formats/dicom/window.py",
        "levels[pixels.padding[index]] = 0",
        "levels[pixels.padding[index]] = 1",
        DICOM_WINDOW,
    ),
    Mutant(
        "a constant of Winograd's filters is wrong",
        "tfs_rt/backends/winograd/toom.py",
        "[0, 0, 1]",
        "[0, 0, 2]",
        ("tests/backends/winograd/test_toom.py", "-k", "winograds_products_are_a_convolution"),
    ),
    Mutant(
        "a run with a failed case ends with exit code 0",
        "tfs_rt/batch/report.py",
        "return 3 if self.done else 4",
        "return 0 if self.done else 4",
        ("tests/batch/test_run.py", "-k", "what_cannot_run_fails_alone"),
    ),
    Mutant(
        "a model that is refused ends with the exit code of a usage error",
        "tfs_rt/errors.py",
        "exit_code = 5",
        "exit_code = 2",
        ("tests/cli/test_main.py::test_wrong_use_ends_in_one_line_and_its_exit_code[no checkpoint]",),
    ),
    Mutant(
        "images of a folder are paired by position, not by modality",
        "tfs_rt/cases/pairing.py",
        "for name in (*ALL_ANATOMICAL, *FUNCTIONAL) if name in present]",
        "for name in candidate.images if name in present]",
        ("tests/cases/test_pairing.py",),
    ),
    Mutant(
        "a formula in a CSV cell is not protected",
        "tfs_rt/cases/csv_list.py",
        'return EXPOSED.sub(r"\\1\'", cell)',
        "return cell",
        ("tests/cases/test_csv_list.py",),
    ),
    Mutant(
        "a byte order mark is part of a CSV's first cell",
        "tfs_rt/cases/csv_list.py",
        '"utf-8-sig"',
        '"utf-8"',
        ("tests/cases/test_csv_list.py",),
    ),
)


def main(words: Sequence[str]) -> int:
    """Try the mutants, and print a line for each."""
    chosen = [mutant for mutant in MUTANTS if not words or any(word in mutant.name for word in words)]
    verdicts: list[str] = []
    with source_copy() as copy:
        for mutant in chosen:
            verdicts.append(verdict(mutant, copy))
            sys.stdout.write(f"{verdicts[-1]:<20} {mutant.name} ({' '.join(mutant.tests)})\n")
            sys.stdout.flush()
    sys.stdout.write(f"{verdicts.count('caught')} of {len(chosen)} caught\n")
    return 0 if chosen and set(verdicts) == {"caught"} else 1


@contextmanager
def source_copy() -> Generator[Path]:
    """A folder with the sources and tests as they are now; what is large is linked."""
    with tempfile.TemporaryDirectory(prefix="tfs-rt-mutants-") as folder:
        copy = Path(folder) / "tfs-rt"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(*LEFT_OUT))
        for name in LINKED:
            (copy / name).symlink_to(ROOT / name)
        yield copy


def applies(mutant: Mutant, root: Path) -> bool:
    """True if the mutant's text stands once in its file."""
    file = root / mutant.file
    return file.is_file() and file.read_text(encoding="utf-8").count(mutant.old) == 1


def verdict(mutant: Mutant, copy: Path, seconds: float = SECONDS) -> str:
    """`caught`, `survived`, or why it cannot be said: a test that is skipped, or fails anyway, catches nothing."""
    if not applies(mutant, copy):
        return "does not apply"
    before = clean_outcome(mutant.tests, copy, seconds)
    if before.code == 1:
        return "fails without it"
    if before.code != 0:
        return ENDS.get(before.code, "no such tests")
    if not before.passed:
        return "not tried"
    file = copy / mutant.file
    text = file.read_text(encoding="utf-8")
    try:
        file.write_text(text.replace(mutant.old, mutant.new), encoding="utf-8")
        after = outcome(mutant.tests, copy, seconds)
    finally:
        file.write_text(text, encoding="utf-8")
    return ENDS.get(after.code, "does not run")


@cache
def clean_outcome(tests: tuple[str, ...], copy: Path, seconds: float) -> Outcome:
    """The tests' outcome without any fault."""
    return outcome(tests, copy, seconds)


def outcome(tests: tuple[str, ...], copy: Path, seconds: float) -> Outcome:
    """Run tests in the copy, up to the first that fails."""
    report = copy / "report.xml"
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider", f"--junitxml={report}", *tests]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(str(copy / room) for room in PACKAGES)}
    env.setdefault("TFS_RT_SHARED", str(ROOT.parent / "shared"))
    env["PYTHONDONTWRITEBYTECODE"] = "1"  # two texts of one second and one length would share their bytecode
    report.unlink(missing_ok=True)
    try:
        done = subprocess.run(command, cwd=copy, env=env, capture_output=True, timeout=seconds, check=False)
    except subprocess.TimeoutExpired:
        return Outcome(None, 0)
    if not report.exists():
        return Outcome(done.returncode, 0)
    suite = ElementTree.parse(report).getroot()[0]
    total, *not_passed = (int(suite.get(key, 0)) for key in ("tests", "failures", "errors", "skipped"))
    return Outcome(done.returncode, total - sum(not_passed))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
