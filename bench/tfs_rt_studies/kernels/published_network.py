"""The published network with random weights, to measure its speed.

`python -m tfs_rt_studies.kernels.published_network BUNDLE`, then `tfs-rt bench --model BUNDLE`.

97.8 million parameters, 360 GFLOP a step at 256x256: for its speed. It predicts x_0, and its last convolution is scaled
so that an image is grey in the mean with a deviation of `DEVIATION`: neither constant nor clipped, so that fidelity
means something. It has seen no gate, and fuses nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from pathlib import Path

import torch

from tfs_rt import __version__
from tfs_rt.errors import TfsRtError
from tfs_rt.models.manifest import SCHEMA, BundleFile, Manifest, write_manifest
from tfs_rt.output.results import prepare_output
from tfs_rt.sampling.schedule import sigma_range
from tfs_rt.spec import SLOTS, Architecture, ModelSpec, Schedule
from tfs_rt.system.files import file_sha256
from tfs_rt_export.graph import write_step_graph
from tfs_rt_reference.network import UNet
from tfs_rt_reference.recipe import default_recipe

PUBLISHED = Architecture(
    in_channel=12,
    out_channel=3,
    inner_channel=64,
    norm_groups=32,
    channel_multiplier=(1, 2, 4, 8, 8),
    attention_levels=(4,),
    res_blocks=2,
    gate="all",
)
SCHEDULE = Schedule(schedule="linear", n_timestep=4000, linear_start=1e-6, linear_end=1e-2)
DEVIATION = 0.35  # of the image, which lies in [-1, 1]


def random_network(arch: Architecture) -> UNet:
    """The network as PyTorch initialises it, with an image of the mean 0 and the deviation DEVIATION."""
    torch.manual_seed(0)
    network = UNet(arch).eval().requires_grad_(requires_grad=False)
    side = 2 * arch.stride
    inputs = (torch.rand(1, arch.condition_channels, side, side) * 2 - 1, torch.randn(1, arch.out_channel, side, side))
    image = network(*inputs, torch.tensor([[0.1]]))
    last = network.final_conv.block[-1]
    assert isinstance(last, torch.nn.Conv2d)
    assert last.bias is not None
    scale = DEVIATION / float(image.std())
    last.bias.sub_(image.mean())
    last.weight.mul_(scale)
    last.bias.mul_(scale)
    return network


def write_random_bundle(folder: Path) -> None:
    """A bundle that `tfs-rt bench --model` takes, for x4."""
    # Describe the model.
    prepare_output(folder)
    spec = ModelSpec(
        architecture=PUBLISHED,
        prediction="x0",
        schedule=SCHEDULE,
        scale=4,
        trained_size=256,
        sigma_range=sigma_range(SCHEDULE),
    )
    # Write its graph with random weights.
    graph = folder / "step.onnx"
    write_step_graph(random_network(PUBLISHED), graph)
    # Write the manifest.
    manifest = Manifest(
        schema=SCHEMA,
        name="random",
        slots=SLOTS,
        model=spec,
        recipe=dataclasses.replace(default_recipe(spec), steps=2),
        files={"fp32": BundleFile(path=graph.name, sha256=file_sha256(graph))},
        source={"file": "random weights", "sha256": hashlib.sha256(b"").hexdigest()},
        exporter={"tfs-rt": __version__, "torch": torch.__version__},
        fidelity={},
        quality={},
        licence="none: random numbers",
        intended_use="to measure speed; it fuses nothing",
    )
    write_manifest(folder, manifest)


def main() -> int:
    """The exit code."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        print("usage: python -m tfs_rt_studies.kernels.published_network BUNDLE", file=sys.stderr)
        return 2
    try:
        write_random_bundle(Path(sys.argv[1]))
    except TfsRtError as error:
        print(f"tfs_rt_studies.kernels.published_network: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
