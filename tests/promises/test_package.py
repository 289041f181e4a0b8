"""What the README and ARCHITECTURE promise of the package as a whole."""

import email
import re
import subprocess
import sys
import tomllib
import zipfile
from email.message import Message
from pathlib import Path

import pytest

from support.helpers import Cli
from support.paths import ROOT

HEAVY = [
    *("torch", "onnx", "onnxscript", "onnxruntime", "openvino", "llvmlite", "numba", "safetensors", "scipy"),
    *("numpy", "PIL", "pydicom", "nibabel", "rich.progress"),
]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def python(code: str, cwd: Path) -> str:
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=cwd, check=True)
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("modules", "absent"),
    [
        ("tfs_rt, tfs_rt.cli", HEAVY),
        (
            "tfs_rt.methods.diffusion, tfs_rt.batch.run, tfs_rt.cases.discover",
            ["torch", "onnx", "onnxruntime", "safetensors"],
        ),
    ],
)
def test_importing_the_runtime_pulls_in_no_inference_library(tmp_path: Path, modules: str, absent: list[str]) -> None:
    code = f"import {modules}, sys; print([m for m in {absent!r} if m in sys.modules])"
    assert python(code, tmp_path) == "[]"


def test_fusing_never_imports_torch_or_onnx(tmp_path: Path) -> None:
    code = (
        "import sys; from tfs_rt.cli import main\n"
        f"sys.argv = ['tfs-rt', 'fuse', {str(ROOT / 'examples' / 'mni-z060')!r}, '-o', 'out', '-q']\n"
        "try: main()\n"
        "except SystemExit as end: print(end.code, [m for m in ('torch', 'onnx') if m in sys.modules])"
    )
    assert python(code, tmp_path) == "0 []"


def test_help_imports_nothing_that_computes_or_reads_images(tmp_path: Path) -> None:
    code = (
        "import sys; from tfs_rt.cli import main\n"
        "sys.argv = ['tfs-rt', '--help']\n"
        "try: main()\n"
        f"except SystemExit as end: print(end.code, [m for m in {HEAVY!r} if m in sys.modules])"
    )
    assert python(code, tmp_path).splitlines()[-1] == "0 []"


def processor_seconds(*arguments: str) -> float:
    """Processor time of a Python process."""
    code = (
        "import resource, subprocess, sys\n"
        "subprocess.run([sys.executable, *sys.argv[1:]], check=True, capture_output=True)\n"
        "use = resource.getrusage(resource.RUSAGE_CHILDREN); print(use.ru_utime + use.ru_stime)"
    )
    command = [sys.executable, "-c", code, *arguments]
    return float(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_help_takes_at_most_three_times_what_its_libraries_take_to_be_imported() -> None:
    """A busy machine makes both take longer, so the two are timed one after the other: 0.35 and 0.18 seconds, idle."""
    assert any(
        processor_seconds("-m", "tfs_rt", "--help") < 3 * processor_seconds("-c", "import typer.rich_utils")
        for _ in range(8)
    )


@pytest.fixture(scope="module")
def wheel_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(out), str(ROOT)]
    subprocess.run(command, check=True, capture_output=True)
    (path,) = out.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def wheel(wheel_file: Path) -> set[str]:
    with zipfile.ZipFile(wheel_file) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def metadata(wheel_file: Path) -> Message:
    with zipfile.ZipFile(wheel_file) as archive:
        (name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        return email.message_from_bytes(archive.read(name))


def test_the_wheel_holds_four_packages_and_nothing_with_a_generic_name(wheel: set[str]) -> None:
    tops = {name.split("/")[0] for name in wheel}
    (info,) = (top for top in tops if top.endswith(".dist-info"))
    assert tops - {info} == {"tfs_rt", "tfs_rt_export", "tfs_rt_reference", "tfs_rt_bench"}


def test_the_wheel_holds_every_module_and_every_shipped_file(wheel: set[str]) -> None:
    expected = set()
    for parent in (ROOT, ROOT / "export", ROOT / "reference", ROOT / "bench"):
        for package in ("tfs_rt", "tfs_rt_export", "tfs_rt_reference", "tfs_rt_bench"):
            files = [path for kind in ("*.py", "py.typed", "*.npy") for path in (parent / package).rglob(kind)]
            expected |= {str(path.relative_to(parent)) for path in files}
    for data in ("engines", "kernels"):
        files = [path for path in (ROOT / data).rglob("*") if path.is_file()]
        expected |= {f"tfs_rt/{path.relative_to(ROOT)}" for path in files}
    examples = [ROOT / "examples" / "NOTICE.md", *(ROOT / "examples").glob("*/*.png")]
    assert len(examples) == 1 + 4 * 3
    expected |= {f"tfs_rt/{path.relative_to(ROOT)}" for path in examples}
    assert "tfs_rt/engines/x4/step.onnx" in expected
    assert expected == {name for name in wheel if ".dist-info/" not in name}


def test_the_page_for_an_index_needs_no_clone(metadata: Message) -> None:
    """An index shows it without the files beside it."""
    page = metadata.get_payload()
    assert isinstance(page, str)
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert [target for target in re.findall(r"\]\(([^)]*)\)", page) if "://" not in target] == []
    assert "<!--" not in page
    assert "tfs-rt examples -o examples" in page
    for document in re.findall(r"\]\((?!https?:)([^)#]+)", README):
        assert document in page or document.endswith(".png"), document


def test_an_index_is_told_of_the_system_and_the_pythons(metadata: Message) -> None:
    classifiers = metadata.get_all("Classifier") or []
    assert "Operating System :: POSIX :: Linux" in classifiers
    assert any(line.startswith("Programming Language :: Python :: 3.") for line in classifiers)


def test_a_user_without_a_clone_is_told_no_command_that_needs_one() -> None:
    after = README[README.index("## Your own images") :]
    assert "install '." not in after


def test_the_examples_that_are_written_are_those_of_the_repository(tmp_path: Path, cli: Cli) -> None:
    for _ in range(2):  # the second time they are there already
        done = cli("examples", "-o", tmp_path / "out")
        assert (done.code, "4 example cases" in done.err) == (0, True)
    written = {path.relative_to(tmp_path / "out"): path.read_bytes() for path in (tmp_path / "out").rglob("*.*")}
    names = {Path("NOTICE.md"), *(path.relative_to(ROOT / "examples") for path in (ROOT / "examples").glob("*/*.png"))}
    assert written == {name: (ROOT / "examples" / name).read_bytes() for name in names}
    (tmp_path / "out" / "mni-z060" / "pet.png").write_bytes(b"mine")
    refused = cli("examples", "-o", tmp_path / "out")
    assert (refused.code, "is there already, and is not the example" in refused.err) == (2, True)
    assert (tmp_path / "out" / "mni-z060" / "pet.png").read_bytes() == b"mine"


def test_shipped_models_stay_under_the_size_budget() -> None:
    assert sum(path.stat().st_size for path in (ROOT / "engines").rglob("*.onnx")) < 40e6


def commands(marker: str) -> list[str]:
    found = re.search(rf"<!-- {marker} -->\n```\w*\n(.*?)```", README, re.DOTALL)
    assert found, f"README lacks the block {marker}"
    return [line for line in found[1].replace("\\\n", " ").splitlines() if line.strip()]


def test_readmes_first_command_installs_no_torch() -> None:
    (line,) = commands("first command")
    venv, install, _ = line.split(" && ")
    assert venv.startswith("python3 -m venv")
    assert install.endswith("pip install -q '.[cpu]'")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"], *project["optional-dependencies"]["cpu"]]
    assert {re.split(r"[>=<]", line)[0] for line in wanted} == {
        "numpy",
        "pillow",
        "typer",
        "rich",
        "filelock",
        "onnxruntime",
        "llvmlite",
    }


def test_readmes_second_command_is_what_ci_runs() -> None:
    (line,) = commands("second command")
    assert line.endswith("make check")
    assert "second command" in (ROOT / ".ci" / "run").read_text()
