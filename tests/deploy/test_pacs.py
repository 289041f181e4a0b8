"""A hospital round trip: a real PACS (Orthanc) has three series, and gets the fused series.

Skipped without Orthanc or the packages dicomweb-client and simpleitk. It takes about 5 seconds of processor time.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import json
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from pydicom import Dataset, config, dcmread, uid

from support.helpers import Outcome
from support.paths import ROOT
from support.scanned_series import OBLIQUE, STEP, series

pytest.importorskip("SimpleITK")
requests = pytest.importorskip("requests")
web = pytest.importorskip("dicomweb_client")

SERVER = Path("/usr/sbin/Orthanc")
EXAMPLE = ROOT / "deploy" / "pacs"
STUDY = "1.2.826.0.1.3680043.8.498.2"
NAMES = {"m1": "CT head", "m2": "T2 axial", "functional": "PET FDG"}  # of the series, by slot
UIDS = {slot: f"1.2.826.9.{number}" for number, slot in enumerate(NAMES)}
CLASSES = {
    "m1": ("CT", uid.CTImageStorage),
    "m2": ("MR", uid.MRImageStorage),
    "functional": ("PT", uid.PositronEmissionTomographyImageStorage),
}
CHOICE = ("--m1", "CT", "--m2", "MR:t2", "--functional", UIDS["functional"])
ALIGN = ("--", "--scale", "2", "--align", "--no-register")
ACROSS = np.reshape(OBLIQUE, (2, 3))  # along a row, and along a column
SPACING = np.array([2.0, 1.5])  # mm between rows, and between columns
FIRST = np.array([-10.0, -20.0, 5.0])  # the centre of the first pixel
COARSE: dict[str, Any] = {
    "PixelSpacing": (2 * SPACING).tolist(),
    "ImagePositionPatient": lambda n: (
        FIRST + SPACING[1] / 2 * ACROSS[0] + SPACING[0] / 2 * ACROSS[1] + n * STEP * np.cross(ACROSS[0], ACROSS[1])
    ).tolist(),
}
SIZE = 64  # pixels: results of 128x128 are not so small that they cause a warning

PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
INSTALLED = SERVER.exists() and PLUGIN.exists()

pytestmark = pytest.mark.skipif(not INSTALLED, reason="needs the Debian packages orthanc and orthanc-dicomweb")


def pixels_of(slot: str) -> NDArray[np.uint16]:
    """An image that no check finds fault with: a skull, a ventricle, or a spot of uptake."""
    y, x = np.mgrid[0:SIZE, 0:SIZE] / SIZE
    radius = np.hypot(y - 0.5, x - 0.5)
    values = {
        "m1": 900 * (radius > 0.36) + 300 * (np.hypot(y - 0.4, x - 0.6) < 0.1) + 200 + 60 * (1 + np.sin(20 * x)),
        "m2": 200 + 400 * (np.hypot(y - 0.5, x - 0.4) < 0.15) + 200 * np.cos(14 * y),
        "functional": 900 * np.exp(-12 * ((y - 0.45) ** 2 + (x - 0.45) ** 2)),
    }
    return ((radius < 0.42) * values[slot]).astype(np.uint16)


def made_series(slot: str, **changes: Any) -> list[Dataset]:
    """An oblique series of three slices, as the PACS receives it; the functional one has pixels of twice the size."""
    modality, sop_class = CLASSES[slot]
    pixels = pixels_of(slot)
    if slot == "functional":
        pixels = pixels.reshape(SIZE // 2, 2, SIZE // 2, 2).mean(axis=(1, 3)).astype(np.uint16)
        changes |= COARSE
    series_uid = changes.get("SeriesInstanceUID", UIDS[slot])
    attributes = {
        "Modality": modality,
        "SOPClassUID": sop_class,
        "SeriesInstanceUID": series_uid,
        "SOPInstanceUID": lambda n: f"{series_uid}.{n + 1}",
        "SeriesDescription": NAMES[slot],
        "WindowCenter": 650,
        "WindowWidth": 1300,
        **changes,
    }
    files = series(3, OBLIQUE, pixels=pixels, **attributes)
    return [dcmread(io.BytesIO(data)) for data in files.values()]


class Pacs:
    """A running Orthanc, asked without the program under test."""

    def __init__(self, port: int) -> None:
        self.root = f"http://127.0.0.1:{port}"
        self.url = f"{self.root}/dicom-web"
        self.client = web.DICOMwebClient(self.url)

    def count(self, kind: str) -> int:
        """Number of its series or instances."""
        return len(requests.get(f"{self.root}/{kind}", timeout=10).json())

    def fetch(self, series_uid: str) -> list[Dataset]:
        """The slices of a series, along its normal."""
        slices = self.client.retrieve_series(STUDY, series_uid)
        return sorted(slices, key=lambda head: float(np.dot(normal(head), head.ImagePositionPatient)))

    def delete(self, instance: Dataset) -> None:
        found = requests.post(f"{self.root}/tools/lookup", data=instance.SOPInstanceUID, timeout=10).json()
        requests.delete(f"{self.root}/instances/{found[0]['ID']}", timeout=10).raise_for_status()


def normal(head: Dataset) -> NDArray[np.float64]:
    across = np.array(head.ImageOrientationPatient, float)
    return np.cross(across[:3], across[3:])


@contextlib.contextmanager
def orthanc(folder: Path) -> Generator[Pacs]:
    """The example's server, with storage in the folder and on a free port; ended with this process at the latest."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    settings = json.loads((EXAMPLE / "orthanc.json").read_text())
    (folder / "orthanc.json").write_text(json.dumps({**settings, "HttpPort": port}))
    command = ["setpriv", "--pdeathsig", "KILL", str(SERVER), "orthanc.json"]
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        try:
            pacs = Pacs(port)
            await_answer(pacs, process, folder / "log")
            yield pacs
        finally:
            process.kill()
            process.wait()


def await_answer(pacs: Pacs, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(300):
        with contextlib.suppress(requests.ConnectionError):
            requests.get(f"{pacs.url}/studies", timeout=10).raise_for_status()
            return
        assert process.poll() is None, log.read_text()
        time.sleep(0.1)
    pytest.fail(f"Orthanc does not answer: {log.read_text()}")


@pytest.fixture(scope="module")
def pacs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pacs]:
    """A PACS that has the three series and another one of MR."""
    with orthanc(tmp_path_factory.mktemp("orthanc")) as running:
        for slot in NAMES:
            running.client.store_instances(made_series(slot))
        other = made_series("m2", SeriesInstanceUID="1.2.826.9.7", SeriesDescription="DWI")
        running.client.store_instances(other)
        yield running


@pytest.fixture(scope="module")
def program() -> ModuleType:
    spec = importlib.util.spec_from_file_location("fuse_study", EXAMPLE / "fuse_study.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


Run = Callable[..., Outcome]


@pytest.fixture(scope="module")
def run(pacs: Pacs, program: ModuleType) -> Run:
    """Run the program in this process, which takes half the time; its exit code and what it said."""

    def run_program(*arguments: object, choice: tuple[str, ...] = CHOICE, url: str = "") -> Outcome:
        out = io.StringIO()
        with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryFile("w+") as err:
            patch.setattr(config.settings, "reading_validation_mode", config.WARN)
            with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                code = program.main(["--url", url or pacs.url, "--study", STUDY, *choice, *map(str, arguments)])
            err.seek(0)
            return Outcome(code, out.getvalue(), err.read())

    return run_program


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("kept")


@pytest.fixture(scope="module")
def first(run: Run, kept: Path) -> Outcome:
    return run("-o", kept, *ALIGN)


@pytest.fixture(scope="module")
def fused(first: Outcome) -> str:
    """UID of the fused series."""
    assert first.code == 0, first.err
    return first.out.strip()


def corner(head: Dataset) -> NDArray[np.float64]:
    """The outer corner of a slice's first pixel in mm, by PS3.3 C.7.6.2.1.1."""
    across = np.array(head.ImageOrientationPatient, float)
    rows, columns = map(float, head.PixelSpacing)
    return np.array(head.ImagePositionPatient, float) - columns / 2 * across[:3] - rows / 2 * across[3:]


def test_the_fused_series_is_in_the_study_of_its_sources_and_at_their_place(pacs: Pacs, fused: str) -> None:
    resampled = {head.SOPInstanceUID for head in pacs.fetch(UIDS["functional"])}
    slices = zip(pacs.fetch(fused), pacs.fetch(UIDS["m1"]), pacs.fetch(UIDS["m2"]), strict=True)
    for made, source, other in slices:
        assert (made.StudyInstanceUID, made.PatientID, made.PatientName) == (STUDY, "X1", "Phantom^Head")
        assert (made.Rows, made.Columns) == (2 * SIZE, 2 * SIZE)
        assert made.FrameOfReferenceUID == source.FrameOfReferenceUID
        assert np.allclose(made.ImageOrientationPatient, source.ImageOrientationPatient, atol=1e-6)
        assert np.allclose(np.array(made.PixelSpacing) * 2, source.PixelSpacing, atol=1e-6)
        assert np.allclose(corner(made), corner(source), atol=1e-4)
        named = {item.ReferencedSOPInstanceUID for item in made.SourceImageSequence}
        assert named == {source.SOPInstanceUID, other.SOPInstanceUID, *resampled}


@pytest.mark.usefixtures("fused")
def test_the_sources_stay_as_they_were_received(pacs: Pacs) -> None:
    for slot, series_uid in UIDS.items():
        sent = {head.SOPInstanceUID: head for head in made_series(slot)}
        assert {head.SOPInstanceUID: head for head in pacs.fetch(series_uid)} == sent


def test_only_the_uid_is_printed_and_nothing_of_the_patient(first: Outcome, fused: str) -> None:
    assert first.out == f"{fused}\n"
    assert "Phantom" not in first.err
    assert "X1" not in first.err


def test_a_second_run_stores_what_is_missing_and_nothing_twice(pacs: Pacs, run: Run, fused: str) -> None:
    before = (pacs.count("series"), pacs.count("instances"))
    pacs.delete(pacs.fetch(fused)[1])
    assert pacs.count("instances") == before[1] - 1
    again = run(*ALIGN)
    assert (again.code, again.out) == (0, f"{fused}\n"), again.err
    assert (pacs.count("series"), pacs.count("instances")) == before


@pytest.mark.usefixtures("fused")
def test_a_result_with_warnings_is_not_stored_unless_asked_for(
    pacs: Pacs, run: Run, program: ModuleType, kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    warned = shutil.copytree(kept, tmp_path / "warned")
    (sidecar,) = warned.glob("pacs-*.json")
    facts = json.loads(sidecar.read_text())
    assert facts["warnings"] == []
    sidecar.write_text(json.dumps({**facts, "warnings": ["m1 and m2 look exchanged"]}))
    pretend(program, monkeypatch, 0)
    count = pacs.count("instances")
    refused = run("-o", warned)
    assert (refused.code, refused.out, pacs.count("instances")) == (3, "", count)
    assert "was not stored: look at it with -o FOLDER, then give --store-warned" in refused.err
    assert run("-o", warned, "--store-warned").code == 0


def pretend(program: ModuleType, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    """Let `tfs-rt fuse` end with an exit code, without running it."""
    ended = subprocess.CompletedProcess([], code)
    monkeypatch.setattr(program.subprocess, "run", lambda *_, **__: ended)


def test_the_exit_code_of_the_fusion_is_passed_on(
    run: Run, program: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    for ended, code in ((5, 5), (-9, 137)):
        pretend(program, monkeypatch, ended)
        done = run()
        assert (done.code, "nothing was stored" in done.err) == (code, True)


def test_a_series_of_which_a_part_came_is_not_fused(
    run: Run, program: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(program, "list_instances", lambda *_: {"1.2.3"})
    done = run()
    assert (done.code, "did not come as a whole" in done.err) == (6, True)


@pytest.mark.parametrize(
    ("choice", "code", "words"),
    [
        (("--m1", "CT", "--m2", "MR", "--functional", "PT"), 2, ["2 series fit --m2 MR", "DWI", UIDS["m2"]]),
        (("--m1", "CT", "--m2", "MR:flair", "--functional", "PT"), 4, ["no series fits --m2 MR:flair", "T2 axial"]),
        (("--m1", "1.2.3", "--m2", "MR:t2", "--functional", "PT"), 4, ["no series fits --m1 1.2.3", UIDS["m1"]]),
        ((*CHOICE, "--study", "1.2.3"), 4, ["no study 1.2.3", "check --study"]),
    ],
)
def test_a_choice_that_fits_no_series_or_several_is_refused_with_a_list(
    run: Run, choice: tuple[str, ...], code: int, words: list[str]
) -> None:
    done = run(choice=choice)
    assert (done.code, done.out) == (code, "")
    assert [word for word in words if word not in done.err] == []


def test_a_server_that_cannot_be_used_is_named_with_a_remedy(pacs: Pacs, run: Run) -> None:
    silent = run(url="http://127.0.0.1:1/dicom-web")
    assert (silent.code, "no server answers at http://127.0.0.1:1/dicom-web: check --url" in silent.err) == (6, True)
    other = run(url=pacs.root)
    assert (other.code, "check that --url is the root of its DICOMweb services" in other.err) == (6, True)


@pytest.mark.parametrize("words", [("--url", "http://user:secret@host/"), ("--study", "1.2/3"), ("--url", "pacs")])
def test_an_address_with_a_password_and_a_wrong_uid_are_wrong_usage(
    program: ModuleType, words: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        program.main(["--url", "http://host/", "--study", "1.2", *CHOICE, *words])
    assert ended.value.code == 2
    assert "secret" not in capsys.readouterr().err
