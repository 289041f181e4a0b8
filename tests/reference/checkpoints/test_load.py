"""Checkpoints of every known shape are read; everything else is refused in one line, and no code is run."""

import argparse
import dataclasses
import gzip
import io
import json
import os
import pickle
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import save_file

from support.checkpoints import published_form
from support.helpers import PAPER_SCHEDULE, TINY, model_spec
from tfs_rt.errors import ModelError
from tfs_rt_reference.checkpoints.contents import read_contents
from tfs_rt_reference.checkpoints.inspect import inspect_checkpoint
from tfs_rt_reference.checkpoints.load import load_checkpoint, save_checkpoint
from tfs_rt_reference.checkpoints.option_file import PublishedConfig
from tfs_rt_reference.network import UNet

CONFIG = {
    "model": {
        "unet": {
            "in_channel": 12,
            "out_channel": 3,
            "inner_channel": 8,
            "norm_groups": 4,
            "channel_multiplier": [1, 2],
            "attn_res": [128],
            "res_blocks": 1,
        },
        "beta_schedule": {
            phase: {"schedule": "linear", "n_timestep": 4000, "linear_start": 1e-6, "linear_end": 1e-2}
            for phase in ("train", "val")
        },
        "diffusion": {"image_size": 256},
    }
}


@pytest.fixture
def network() -> UNet:
    torch.manual_seed(0)
    return UNet(TINY).requires_grad_(requires_grad=False)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    return write_config(tmp_path, CONFIG)


def write_config(folder: Path, content: dict[str, Any]) -> Path:
    path = folder / "opt.json"
    path.write_text(
        "// the published form has comments\n" + json.dumps(content, indent=1).replace(",\n", ", // and here\n")
    )
    return path


def same(loaded: UNet, saved: UNet) -> bool:
    theirs = saved.state_dict()
    return all(torch.equal(tensor, theirs[name]) for name, tensor in loaded.state_dict().items())


@pytest.mark.parametrize("prefix", ["denoise_fn.", "module.denoise_fn.", "denoise_fn.module.", "_orig_mod.", ""])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_prefixes_are_stripped_in_both_formats(
    tmp_path: Path, network: UNet, config: Path, prefix: str, suffix: str
) -> None:
    path = tmp_path / f"I100_E1_gen{suffix}"
    state = published_form(network, prefix)
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    loaded = load_checkpoint(path, config=config, scale=2)
    assert same(loaded.network, network)
    assert loaded.spec == model_spec(scale=2)


@pytest.mark.parametrize("key", ["state_dict", "model", "netG"])
def test_a_state_dict_inside_a_training_checkpoint_is_found(
    tmp_path: Path, network: UNet, config: Path, key: str
) -> None:
    torch.save({key: published_form(network), "epoch": 3}, tmp_path / "a.pth")
    assert same(load_checkpoint(tmp_path / "a.pth", config=config, scale=2).network, network)


EMA_FORMS = {
    "nested": lambda state, average: {"state_dict": state, "ema": average},
    "flat": lambda state, average: state | {f"ema.{name}": tensor for name, tensor in average.items()},
    "inside": lambda state, average: {"state_dict": state | {f"ema_model.{n}": t for n, t in average.items()}},
    "shadow": lambda state, average: {"state_dict": state, "ema": {"decay": 0.99, "shadow": average}},
    "suffix": lambda state, average: {"netG": state, "netG_ema": average},
    "optim": lambda state, average: {"model": state, "ema_model": average, "optimizer_state_dict": {"m": state}},
    "decay": lambda state, average: {"model": state, "ema": {"shadow": average, "decay": torch.tensor(0.99)}},
    "alone": lambda state, average: {"ema": average, "step": torch.tensor(3), "optimizer": {"state": {}}},
}


@pytest.mark.parametrize("form", list(EMA_FORMS))
def test_averaged_weights_are_preferred(tmp_path: Path, network: UNet, config: Path, form: str) -> None:
    torch.manual_seed(1)
    average = UNet(TINY).requires_grad_(requires_grad=False)
    torch.save(EMA_FORMS[form](published_form(network), published_form(average)), tmp_path / "a.pth")
    loaded = load_checkpoint(tmp_path / "a.pth", config=config, scale=2)
    assert loaded.contents.ema
    assert same(loaded.network, average)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_checkpoint_all_in_another_type_agrees_with_its_option_file(
    tmp_path: Path, network: UNet, config: Path, kind: torch.dtype, suffix: str
) -> None:
    path = tmp_path / f"a{suffix}"
    state = {name: tensor.to(kind) for name, tensor in published_form(network).items()}
    save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
    loaded = load_checkpoint(path, config=config, scale=2)
    assert loaded.spec == model_spec(scale=2)
    assert loaded.network.downs[0].weight.dtype == torch.float32
    assert inspect_checkpoint(path, config)["configuration"] == "agrees"


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16])
def test_another_schedule_is_told_from_a_rounded_one(
    tmp_path: Path, network: UNet, config: Path, kind: torch.dtype
) -> None:
    state = {name: tensor.to(kind) for name, tensor in published_form(network).items()}
    for name, factor in (("betas", 1.02), ("alphas_cumprod", 0.98)):
        torch.save(state | {name: state[name] * factor}, tmp_path / "a.pth")
        refused(tmp_path / "a.pth", f"stored schedule .*{name} .4000,. in .*float16.* differs", scale=2, config=config)
    torch.save(state, tmp_path / "a.pth")
    words = "keeps its noise schedule in b?float16, too coarse"
    refused(tmp_path / "a.pth", words, scale=2, norm_groups=4)  # 1e-6 comes back as 1.01e-6
    assert "stored in" in inspect_checkpoint(tmp_path / "a.pth", None)["schedule_buffers"]


def test_half_precision_weights_are_widened(tmp_path: Path, network: UNet, config: Path) -> None:
    torch.save(
        {name: t.half() if "denoise" in name else t for name, t in published_form(network).items()}, tmp_path / "a.pth"
    )
    assert load_checkpoint(tmp_path / "a.pth", config=config, scale=2).network.downs[0].weight.dtype == torch.float32


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"channel_multiplier": (1, 2, 4), "attention_levels": (0, 2), "res_blocks": 2},
        {"gate": "condition"},
        {"gate": "none", "in_channel": 6},
        {"patch_size": 4, "condition_skip": True},
    ],
)
def test_the_architecture_is_read_from_the_tensors(tmp_path: Path, changes: dict[str, Any]) -> None:
    arch = dataclasses.replace(TINY, **changes)
    torch.save(published_form(UNet(arch)), tmp_path / "a.pth")
    assert read_contents(tmp_path / "a.pth").architecture == dataclasses.replace(arch, norm_groups=1)


def test_our_own_checkpoints_say_everything_themselves(tmp_path: Path, network: UNet) -> None:
    spec = model_spec(prediction="v")
    save_checkpoint(tmp_path / "a.safetensors", network, spec)
    loaded = load_checkpoint(tmp_path / "a.safetensors")
    assert loaded.spec == spec
    assert same(loaded.network, network)
    with pytest.raises(ModelError, match="prediction: eps asked, v in the file"):
        load_checkpoint(tmp_path / "a.safetensors", prediction="eps")


def refused(path: Path, words: str, **options: Any) -> None:
    with pytest.raises(ModelError, match=words) as caught:
        load_checkpoint(path, **options)
    assert caught.value.subject == str(path)
    assert caught.value.remedy


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    class Payload:
        def __reduce__(self) -> tuple[Any, ...]:
            return os.system, (f"touch {tmp_path / 'ran'}",)

    (tmp_path / "raw.pth").write_bytes(pickle.dumps(Payload(), protocol=2))
    torch.save({"denoise_fn.downs.0.weight": Payload()}, tmp_path / "zip.pth")
    for name in ("raw.pth", "zip.pth"):
        refused(tmp_path / name, "could run code", scale=2)
    assert not (tmp_path / "ran").exists()


def test_what_is_no_checkpoint_is_refused(tmp_path: Path, network: UNet) -> None:
    torch.save(published_form(network), tmp_path / "whole.pth")
    whole = (tmp_path / "whole.pth").read_bytes()
    (tmp_path / "cut.pth").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "text.pth").write_text("hello")
    (tmp_path / "empty.pth").write_bytes(b"")
    (tmp_path / "bad.safetensors").write_bytes(whole[:100])
    torch.save([1, 2], tmp_path / "list.pth")
    for name, words in {
        "cut.pth": "its download was cut off",
        "text.pth": "a text file",
        "empty.pth": "is empty",
        "bad.safetensors": "is PyTorch's own format",
        "list.pth": "holds a list",
        "absent.pth": "cannot be read",
        "absent.safetensors": "cannot be read",
    }.items():
        refused(tmp_path / name, words, scale=2)


def zipped(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in members.items():
            archive.writestr(name.replace("__", "."), data)
    return buffer.getvalue()


PAGE = b"\n<!DOCTYPE html>\n<html><head><title>404</title></head></html>"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 391212032\n"
MODEL = onnx.ModelProto(ir_version=10, producer_name="pytorch", producer_version="2.13").SerializeToString()
OTHER_FILES: dict[str, tuple[bytes, str]] = {
    "a web page": (PAGE, "a web page.*'raw'"),
    "a web page in UTF-16": (PAGE.decode().encode("utf-16"), "a web page.*'raw'"),
    "an answer in XML": (b"\xef\xbb\xbf<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a web page"),
    "a pointer of Git LFS": (POINTER, "a pointer of Git LFS.*git lfs pull"),
    "an answer in JSON": (b'{"error": "Repository not found"}', "a text file.*'raw'"),
    "nothing": (b"", "is empty.*fetch the file again"),
    "zeros": (bytes(5000), "nothing but zeros.*fetch the file again"),
    "an ONNX model": (MODEL, "an ONNX model.*exported from"),
    "gzip": (gzip.compress(b"x" * 100), "a gzip archive.*unpack it"),
    "HDF5": (b"\x89HDF\r\n\x1a\n" + bytes(100), "HDF5.*PyTorch program"),
    "an image": (b"\x89PNG\r\n\x1a\n" + bytes(100), "a PNG image"),
}


@pytest.mark.parametrize("suffix", [".pth", ".ckpt", ".safetensors"])
@pytest.mark.parametrize("what", OTHER_FILES)
def test_another_file_named_as_a_checkpoint_is_recognised(tmp_path: Path, what: str, suffix: str) -> None:
    data, words = OTHER_FILES[what]
    path = tmp_path / f"model{suffix}"
    path.write_bytes(data)
    refused(path, words)


def test_each_of_two_formats_under_the_others_name_is_told_so(tmp_path: Path, network: UNet) -> None:
    state = published_form(network)
    save_file(state, tmp_path / "a.pth")
    refused(tmp_path / "a.pth", "is safetensors by its content: rename it so that it ends in .safetensors")
    for form in (True, False):
        torch.save(state, tmp_path / "a.safetensors", _use_new_zipfile_serialization=form)
        refused(tmp_path / "a.safetensors", "PyTorch's own format by its content: rename it so that it ends in .pth")


@pytest.mark.parametrize("share", [0.001, 0.3, 0.999])
def test_half_a_download_is_told_so(tmp_path: Path, network: UNet, share: float) -> None:
    state = published_form(network)
    torch.save(state, tmp_path / "a.pth")
    save_file(state, tmp_path / "a.safetensors")
    for name in ("a.pth", "a.safetensors"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: int(len(whole) * share)])
        refused(tmp_path / name, "its download was cut off.*: fetch the file again|, or fetch the file again")


def test_a_zip_archive_of_other_things_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "a.pth").write_bytes(zipped(readme__txt=b"x", I1_E1_gen__pth=b"y"))
    refused(tmp_path / "a.pth", "a zip archive with I1_E1_gen.pth: unpack it, and give I1_E1_gen.pth")
    (tmp_path / "a.pth").write_bytes(zipped(notes__txt=b"x"))
    refused(tmp_path / "a.pth", "a zip archive with notes.txt: give the checkpoint")


BESIDE: dict[str, tuple[Any, str]] = {
    "a NumPy scalar": (np.float64(0.1), r"numpy\.\S+\.scalar beside its tensors"),
    "a NumPy array": (np.zeros(3), r"numpy\.\S+\._reconstruct beside its tensors"),
    "options": (argparse.Namespace(lr=1), r"argparse\.Namespace beside its tensors"),
    "a network": (torch.nn.Linear(2, 2), r"torch\.nn\.modules\.linear\.Linear beside its tensors"),
    "a path": (PurePosixPath("a"), r"pathlib\.PurePosixPath beside its tensors"),
}


@pytest.mark.parametrize("archive", [True, False])
@pytest.mark.parametrize("what", BESIDE)
def test_what_stands_beside_the_tensors_is_named(tmp_path: Path, network: UNet, what: str, archive: bool) -> None:
    beside, words = BESIDE[what]
    content = {"state_dict": published_form(network), "beside": beside}
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=archive)
    refused(tmp_path / "a.pth", f"{words}; loading it could run code: .*save its state_dict")


@pytest.mark.parametrize("protocol", [4, 5])
def test_a_pickle_protocol_that_is_not_read_is_named(tmp_path: Path, network: UNet, protocol: int) -> None:
    torch.save(published_form(network), tmp_path / "a.pth", pickle_protocol=protocol)
    refused(tmp_path / "a.pth", "pickled by protocol 4 or later.*without pickle_protocol")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(published_form(network), protocol=protocol))
    refused(tmp_path / "b.pth", "pickled by protocol 4 or later.*with torch.save")


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"final_conv.block.3.weight": (1, 8, 3, 3)}, "has 1 output channels, and only 3-channel output is supported"),
        ({"final_conv.block.3.weight": (2, 8, 3, 3)}, "has 2 output channels"),
        ({"final_conv.block.3.weight": (4, 8, 3, 3)}, "has 4 output channels"),
        ({"final_conv.block.3.weight": (6, 8, 3, 3)}, "has 6 output channels"),  # learnt variance
        ({"downs.0.weight": (8, 2, 3, 3)}, "has 2 input channels.*12 for TFS-Diff, 6 for SR3"),
        ({"downs.0.weight": (8, 3, 3, 3)}, "has 3 input channels"),
        ({"downs.0.weight": (8, 4, 3, 3)}, "has 4 input channels"),
        ({"downs.0.weight": (8, 7, 3, 3)}, "has 7 input channels"),
        ({"downs.0.weight": (8, 12, 3, 3, 3)}, "downs.0.weight is .8, 12, 3, 3, 3."),
        ({"SE_block.linear2.bias": (7,), "SE_block.linear2.weight": (7, 3)}, "SE_block.linear"),
        ({"SE_block.linear1.weight": (5, 12), "SE_block.linear1.bias": (5,)}, "SE_block.linear1.weight is .5, 12."),
        ({"downs.1.res_block.block1.block.0.weight": (0,)}, r"downs.1.res_block.block1.block.0.weight is .0,."),
        ({"downs.3.res_block.block2.block.3.weight": (4, 8, 3, 3)}, "is not a U-Net|expected"),
    ],
)
def test_a_network_of_odd_shapes_is_refused_by_what_is_odd(
    tmp_path: Path, network: UNet, shapes: dict[str, tuple[int, ...]], words: str
) -> None:
    state = published_form(network, prefix="")
    torch.save(state | {name: torch.zeros(shape) for name, shape in shapes.items()}, tmp_path / "a.pth")
    refused(tmp_path / "a.pth", words, scale=2, norm_groups=4)


def test_missing_normalisations_are_named(tmp_path: Path, network: UNet) -> None:
    state = {name: tensor for name, tensor in published_form(network).items() if ".block.0." not in name}
    torch.save(state, tmp_path / "a.pth")
    refused(tmp_path / "a.pth", "block.0.weight is missing", scale=2, norm_groups=4)


def test_an_optimizers_file_is_refused_by_name(tmp_path: Path) -> None:
    for name in ("I1_E1_opt.pth", "renamed.pth"):
        torch.save({"epoch": 1, "iter": 2, "scheduler": None, "optimizer": {}}, tmp_path / name)
        refused(tmp_path / name, "optimizer's state.*_gen.pth", scale=2)


def test_other_networks_are_refused_with_the_tensors_that_differ(tmp_path: Path, network: UNet, config: Path) -> None:
    torch.save({"conv.weight": torch.zeros(3)}, tmp_path / "other.pth")
    refused(tmp_path / "other.pth", "is not a U-Net of the SR3 family .it has no tensor 'downs.0.weight'", scale=2)
    state = published_form(network)
    del state["denoise_fn.mid.0.attn.out.bias"]
    state["denoise_fn.extra"] = torch.zeros(1)
    torch.save(state, tmp_path / "near.pth")
    words = "mid.0.attn.out.bias is missing; denoise_fn.extra is not expected"
    refused(tmp_path / "near.pth", words, scale=2, config=config)
    torch.save({"netG": published_form(network), "netD": published_form(network)}, tmp_path / "two.pth")
    refused(tmp_path / "two.pth", "holds two networks", scale=2, config=config)


def test_weights_that_are_not_finite_are_refused(tmp_path: Path, network: UNet, config: Path) -> None:
    state = published_form(network)
    state["denoise_fn.downs.0.bias"][0] = np.nan
    torch.save(state, tmp_path / "a.pth")
    refused(tmp_path / "a.pth", "NaN or infinite weights in downs.0.bias", scale=2, config=config)


def test_a_configuration_that_disagrees_is_shown_field_by_field(tmp_path: Path, network: UNet) -> None:
    torch.save(published_form(network), tmp_path / "a.pth")
    other = json.loads(json.dumps(CONFIG))
    other["model"]["unet"] |= {"inner_channel": 16, "attn_res": [64]}
    words = r"inner_channel: 8 in the checkpoint, 16 in the configuration; attention_levels: \(1,\).*\(\)"
    refused(tmp_path / "a.pth", words, scale=2, config=write_config(tmp_path, other))


def test_stored_schedule_buffers_are_held_against_the_declared_schedule(tmp_path: Path, network: UNet) -> None:
    torch.save(published_form(network), tmp_path / "a.pth")
    other = json.loads(json.dumps(CONFIG))
    for phase in ("train", "val"):
        other["model"]["beta_schedule"][phase]["linear_end"] = 2e-2
    refused(tmp_path / "a.pth", "stored schedule .* differs", scale=2, config=write_config(tmp_path, other))
    state = {name: tensor for name, tensor in published_form(network).items() if name != "betas"}
    torch.save(state, tmp_path / "b.pth")
    refused(tmp_path / "b.pth", "stored schedule .* differs", scale=2, config=write_config(tmp_path, other))


def test_a_model_sampled_on_another_schedule_keeps_the_levels_it_was_trained_on(tmp_path: Path, network: UNet) -> None:
    torch.save(published_form(network), tmp_path / "a.pth")
    other = json.loads(json.dumps(CONFIG))
    other["model"]["beta_schedule"]["val"]["n_timestep"] = 2000
    spec = load_checkpoint(tmp_path / "a.pth", scale=2, config=write_config(tmp_path, other)).spec
    assert spec.schedule.n_timestep == 2000
    assert spec.sigma_range == model_spec().sigma_range


def test_our_own_metadata_is_held_against_a_configuration(tmp_path: Path, network: UNet, config: Path) -> None:
    save_checkpoint(tmp_path / "a.safetensors", network, model_spec())
    assert load_checkpoint(tmp_path / "a.safetensors", config=config).spec == model_spec()
    other = json.loads(json.dumps(CONFIG))
    other["model"]["unet"] |= {"norm_groups": 8, "attn_res": []}
    for phase in ("train", "val"):
        other["model"]["beta_schedule"][phase]["n_timestep"] = 100
    words = "attention_levels: .*norm_groups: 4 in the checkpoint, 8 in the configuration; schedule: "
    refused(tmp_path / "a.safetensors", words, config=write_config(tmp_path, other))


HOSTILE = {
    "numbers as names": {0: torch.zeros(3)},
    "sparse": {"denoise_fn.downs.0.weight": torch.zeros(3, 3).to_sparse()},
    "whole numbers": {"denoise_fn.downs.0.weight": torch.zeros(8, 12, 3, 3, dtype=torch.int32)},
    "complex": {"denoise_fn.downs.0.weight": torch.zeros(8, 12, 3, 3, dtype=torch.complex64)},
    "no dimension": {"downs.0.weight": torch.tensor(1.0), "final_conv.block.3.weight": torch.tensor(1.0)},
    "no output": {"downs.0.weight": torch.zeros(8, 12, 3, 3), "final_conv.block.3.weight": torch.zeros(0, 8, 3, 3)},
}


@pytest.mark.parametrize("what", list(HOSTILE))
def test_hostile_tensors_are_refused(tmp_path: Path, what: str) -> None:
    torch.save(HOSTILE[what], tmp_path / "a.pth")
    refused(
        tmp_path / "a.pth",
        "is not a U-Net of the SR3 family|not a plain floating-point tensor|3-channel output",
        scale=2,
    )


@pytest.mark.parametrize("beta", [torch.zeros(10), torch.full((10,), 2.0), torch.tensor(0.1), torch.zeros(0)])
def test_hostile_schedules_are_refused(tmp_path: Path, network: UNet, beta: torch.Tensor) -> None:
    torch.save(published_form(network) | {"betas": beta}, tmp_path / "a.pth")
    with pytest.raises(ModelError):
        load_checkpoint(tmp_path / "a.pth", scale=2, norm_groups=4)


def test_a_checkpoint_without_any_schedule_wants_one(tmp_path: Path, network: UNet, config: Path) -> None:
    state = {name: tensor for name, tensor in published_form(network).items() if name.startswith("denoise_fn.")}
    torch.save(state, tmp_path / "a.pth")
    assert load_checkpoint(tmp_path / "a.pth", scale=2, config=config).spec.schedule == PAPER_SCHEDULE
    refused(tmp_path / "a.pth", "does not state its noise schedule", scale=2, norm_groups=4)


def test_what_tensors_cannot_tell_is_asked_for(tmp_path: Path, network: UNet, config: Path) -> None:
    torch.save(published_form(network), tmp_path / "a.pth")
    refused(tmp_path / "a.pth", "do not tell the groups of its normalisation", scale=2)
    refused(tmp_path / "a.pth", "does not state its scale", config=config)
    refused(tmp_path / "a.pth", "norm_groups does not divide", norm_groups=3, scale=2)
    refused(tmp_path / "a.pth", "norm_groups: 8 asked, 4 in the configuration", norm_groups=8, config=config, scale=2)
    assert load_checkpoint(tmp_path / "a.pth", norm_groups=4, scale=2).spec.architecture == TINY


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "not an option file"),
        ("{}", "lacks the key 'model'"),
        ('{"model": {"unet": {}}}', "lacks the key"),
        ("[" * 100_000, "not an option file"),
        ("[]", "not an option file"),
        *(
            (json.dumps(CONFIG).replace(a, b), "is not a positive integer|not an option file")
            for a, b in (
                ('"norm_groups": 4', '"norm_groups": -4'),
                ('"norm_groups": 4', '"norm_groups": "x"'),
                ('"attn_res": [128]', '"attn_res": 5'),
                ('"channel_multiplier": [1, 2]', '"channel_multiplier": 3'),
                ('"n_timestep": 4000', '"n_timestep": -3'),
            )
        ),
    ],
)
def test_a_broken_configuration_is_refused(tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "opt.json").write_text(text)
    with pytest.raises(ModelError, match=words):
        PublishedConfig.read(tmp_path / "opt.json")


def test_comments_go_and_strings_stay(tmp_path: Path) -> None:
    content = json.loads(json.dumps(CONFIG))
    content["path"] = "http://host/x // not a comment"
    assert PublishedConfig.read(write_config(tmp_path, content)).image_size == 256


def test_inspection_says_what_is_there(tmp_path: Path, network: UNet, config: Path) -> None:
    torch.save(published_form(network), tmp_path / "a.pth")
    facts = inspect_checkpoint(tmp_path / "a.pth", config)
    assert facts["family"].startswith("TFS-Diff as published")
    assert facts["parameters"] == sum(p.numel() for p in network.parameters())
    assert facts["schedule_buffers"] == "4000 steps, beta from 1e-06 to 0.01"
    assert facts["configuration"] == "agrees"


def test_a_lone_ema_decay_does_not_hide_the_weights(tmp_path: Path, network: UNet, config: Path) -> None:
    torch.save({"model": published_form(network), "ema": {"decay": torch.tensor(0.99)}}, tmp_path / "a.pth")
    loaded = load_checkpoint(tmp_path / "a.pth", config=config, scale=2)
    assert not loaded.contents.ema
    assert same(loaded.network, network)


def test_a_tree_that_unfolds_without_end_is_walked_once(tmp_path: Path, network: UNet, config: Path) -> None:
    laughs: dict[str, Any] = {}
    for _ in range(60):
        laughs = {"a": laughs, "b": laughs}
    torch.save({"model": published_form(network), "x": laughs}, tmp_path / "a.pth")
    assert same(load_checkpoint(tmp_path / "a.pth", config=config, scale=2).network, network)


def test_a_configuration_that_does_not_say_its_groups_leaves_them_to_the_option(tmp_path: Path, network: UNet) -> None:
    torch.save(published_form(network), tmp_path / "a.pth")
    silent = json.loads(json.dumps(CONFIG))
    del silent["model"]["unet"]["norm_groups"]
    path = write_config(tmp_path, silent)
    assert load_checkpoint(tmp_path / "a.pth", config=path, norm_groups=2, scale=2).spec.architecture.norm_groups == 2
    refused(tmp_path / "a.pth", "norm_groups does not divide", config=path, scale=2)  # the published default, 32


def test_inspection_and_import_agree_on_a_configuration(tmp_path: Path, network: UNet) -> None:
    torch.save(published_form(network), tmp_path / "a.pth")
    other = json.loads(json.dumps(CONFIG))
    other["model"]["unet"]["norm_groups"] = 5
    for phase in ("train", "val"):
        other["model"]["beta_schedule"][phase]["n_timestep"] = 99
    said = inspect_checkpoint(tmp_path / "a.pth", write_config(tmp_path, other))["configuration"]
    assert "does not divide 8" in said[0]
    assert "stored schedule" in said[1]
