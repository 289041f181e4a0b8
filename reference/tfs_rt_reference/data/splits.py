"""The patient of each case and the split of each patient, never two splits for one."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable

from tfs_rt.cases.case import Case, FoundCase
from tfs_rt.errors import UsageError
from tfs_rt.system.files import fold_name

SPLITS = ("train", "val", "test")


def assign_patients(cases: Iterable[FoundCase], pattern: str | None) -> dict[str, str]:
    """The patient of every case by id: the first group of `pattern`, or else the CSV's column `patient`.

    Raises UsageError if neither states it: two slices of one patient in two splits would flatter every figure.
    """
    # Find each case's patient.
    patients = {}
    for case in cases:
        match = re.match(pattern, case.id) if pattern else None
        patient = match[1] if match else None if pattern else case.labels.get("patient")
        if patient:
            patients[case.id] = patient
        elif isinstance(case, Case):
            start = re.split(r"[_.-]", case.id)[0]
            remedy = f"give --patient '([^_.-]+)', which makes it {start!r}, or a CSV with the column patient"
            raise UsageError(f"case {case.id}", "does not state its patient", remedy)
    # Refuse two spellings of one name.
    spellings: dict[str, str] = {}
    for patient in patients.values():
        other = spellings.setdefault(fold_name(patient), patient)
        if other != patient:
            reason = f"is also written {other!r}: one patient, or two?"
            raise UsageError(f"patient {patient}", reason, "write one the same everywhere, or name two apart")
    return patients


def assign_splits(cases: Iterable[FoundCase], patients: dict[str, str], *, val: float, test: float) -> dict[str, str]:
    """The split of every case by id: the CSV's column `split`, or shares of all cases filled with whole patients."""
    stated = {case.id: case.labels.get("split", "") for case in cases if case.id in patients}
    by_patient = (
        _stated_splits(stated, patients) if any(stated.values()) else _draw_splits(patients, val=val, test=test)
    )
    return {case: by_patient[patient] for case, patient in patients.items()}


def _stated_splits(stated: dict[str, str], patients: dict[str, str]) -> dict[str, str]:
    splits = defaultdict(set)
    for case, split in stated.items():
        if split not in SPLITS:
            raise UsageError(f"case {case}", f"has the split {split!r}", "write train, val or test in every line")
        splits[patients[case]].add(split)
    for patient, of_patient in splits.items():
        if len(of_patient) > 1:
            reason = f"is in the splits {' and '.join(sorted(of_patient))}"
            raise UsageError(f"patient {patient}", reason, "put all of a patient's cases in one")
    return {patient: of_patient.pop() for patient, of_patient in splits.items()}


def _draw_splits(patients: dict[str, str], *, val: float, test: float) -> dict[str, str]:
    """Patients in an order drawn from their names; each goes where it still fits, first test, then val, then train."""
    sizes = Counter(patients.values())
    order = sorted(sizes, key=lambda patient: hashlib.sha256(patient.encode("utf-8", "surrogatepass")).digest())
    splits: dict[str, str] = {}
    for split, share in (("test", test), ("val", val)):
        room = share * len(patients)
        fitting = []
        for patient in order:
            if patient not in splits and sizes[patient] <= room + 0.5:
                fitting.append(patient)
                room -= sizes[patient]
        left = [patient for patient in order if patient not in splits]
        if share and not fitting and len(left) > 1:
            fitting = [min(left, key=sizes.__getitem__)]
        splits |= dict.fromkeys(fitting[: len(left) - 1], split)
    return {patient: splits.get(patient, "train") for patient in order}
