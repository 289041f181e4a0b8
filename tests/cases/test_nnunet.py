"""Images with nnU-Net names in one folder."""

from pathlib import Path

from support.cases import file_names, find, refusal


def test_nnunet_names_go_by_channel(tmp_path: Path) -> None:
    for name in ("b_0002.png", "b_0000.png", "b_0001.png", "c_0000.png", "c_0003.png"):
        (tmp_path / name).write_bytes(b"")
    found = find(tmp_path)
    assert file_names(found["b"]) == {"m1": "b_0000.png", "m2": "b_0001.png", "functional": "b_0002.png"}
    assert "_0000, _0003" in refusal(found["c"])


def test_a_doubled_channel_is_refused(tmp_path: Path) -> None:
    for name in ("k_0000.png", "k_0000.PNG", "k_0001.png", "k_0002.png"):
        (tmp_path / name).write_bytes(b"")
    assert "_0000, _0000, _0001, _0002" in refusal(find(tmp_path)["k"])


def test_nnunet_names_below_the_source_are_refused_with_the_source_to_give(tmp_path: Path) -> None:
    channels = ["b_0000.png", "b_0001.png", "b_0002.png"]
    for folder, files in (("imagesTr", channels), ("labelsTr", ["b.png"]), ("labelsTs", ["c.png"])):
        (tmp_path / folder).mkdir()
        for name in files:
            (tmp_path / folder / name).write_bytes(b"")
    found = find(tmp_path)
    assert list(found) == ["imagesTr"]
    assert f"give {tmp_path / 'imagesTr'} itself as a source" in refusal(found["imagesTr"])
    assert list(find(tmp_path / "imagesTr")) == ["b"]
