"""Inputs as large as the model's training images are asked about, once a run."""

import io

import rich.console

from tfs_rt.batch.question import full_resolution_question, is_question
from tfs_rt.cli.console import Console


def test_only_inputs_as_large_as_the_results_of_the_training_are_asked_about() -> None:
    assert full_resolution_question(64, 64, 256) is None
    assert full_resolution_question(512, 255, 256) is None
    assert full_resolution_question(512, 512, None) is None  # a method that was not trained
    question = full_resolution_question(256, 256, 256)
    assert question
    assert is_question(question)
    for remedy in ("--scale 1 --method bitonicx", "--target-size", "tfs-rt prepare"):
        assert remedy in question


def test_the_question_is_shown_once_and_other_warnings_for_each_case() -> None:
    text = io.StringIO()
    console = Console(stderr=rich.console.Console(file=text, width=1000))
    question = full_resolution_question(256, 256, 256)
    for number in range(3):
        console.result({"id": f"k{number}", "status": "done", "warnings": [question, "is odd"]})
    assert text.getvalue().count("did you mean") == 1
    assert text.getvalue().count("is odd") == 3
