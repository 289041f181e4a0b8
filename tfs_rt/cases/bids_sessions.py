"""Anatomical images for the sessions of a BIDS subject that have none.

Anatomical images in the subject's own folder go with the functional image of each session. Those of one session go with
the others' only if `--bids anat-ses=LABEL` says so: the sessions may be years apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from tfs_rt.cases.bids_choice import ANAT_SESSION, BidsChoice
from tfs_rt.cases.case import Problem
from tfs_rt.cases.modalities import FUNCTIONAL
from tfs_rt.cases.pairing import LIST_IT, Candidate


def share_anatomy(sessions: Sequence[Candidate], choice: BidsChoice, *, by_options: bool) -> list[Candidate]:
    """The sessions of one subject; those with a functional image alone get anatomical images, or a hint where some are.

    A folder whose anatomical images were given to another is left out, unless it has a functional image.
    """
    # Find the folder that gives its images, and those that need them.
    wanted = f"ses-{choice.anat_session}" if choice.anat_session else None
    needy = [session for session in sessions if _is_only(session, functional=True)]
    givers = [session for session in sessions if _has_anatomy(session)]
    chosen = [session for session in givers if session.folder.name == wanted]
    own = [session for session in givers if not session.folder.name.startswith("ses-")]
    giver = next(iter([*chosen, *own]), None)
    if not needy:
        return list(sessions)
    if giver is None:
        return [_with_hint(session, sessions, by_options=by_options) for session in sessions]

    shared = {name: files for name, files in giver.images.items() if name not in FUNCTIONAL}
    result: list[Candidate] = []
    for session in sessions:
        if session in needy:
            result.append(replace(session, images={**shared, **session.images}))
        elif session != giver or not _is_only(session, functional=False):
            result.append(session)
    return result


def _with_hint(session: Candidate, sessions: Sequence[Candidate], *, by_options: bool) -> Candidate:
    """A session of functional or of anatomical images only, with a hint at the sessions that have the others."""
    if _is_only(session, functional=True):
        found = "functional"
        missing = "anatomical"
        others = [other for other in sessions if _has_anatomy(other)]
    elif _is_only(session, functional=False):
        found = "anatomical"
        missing = "functional"
        others = [other for other in sessions if not _is_only(other, functional=False)]
    else:
        return session
    if not others:
        return session

    # Name the sessions, and the option that pairs them.
    places = ", ".join(other.folder.name for other in others)
    reason = f"found 0 {missing} images in it, only {found} ones; {missing} ones are in {places}"
    anatomy = session if found == "anatomical" else others[0]
    label = anatomy.folder.name.removeprefix("ses-")
    option = f"give --bids {ANAT_SESSION}={label}, and --align unless all images are on one grid, or {LIST_IT}"
    return replace(session, hint=Problem(reason, option if by_options else LIST_IT))


def _has_anatomy(session: Candidate) -> bool:
    return not session.problem and any(name not in FUNCTIONAL for name in session.images)


def _is_only(session: Candidate, *, functional: bool) -> bool:
    """True if all images of a session are functional, or if all are anatomical."""
    return (
        not session.problem
        and bool(session.images)
        and all((name in FUNCTIONAL) == functional for name in session.images)
    )
