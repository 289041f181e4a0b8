"""`--shard`, `--workers` and `--devices`: which shards a command runs, on which GPUs, by which command lines."""

import pytest

from tfs_rt.batch.shards import Shard
from tfs_rt.cli.sharing import Sharing, check_sharing, drop_options, parse_sharing
from tfs_rt.errors import UsageError


def test_a_command_without_these_options_fuses_all_cases_itself() -> None:
    sharing = parse_sharing(None, None, None, {})
    assert sharing == Sharing()
    assert sharing.shard is None
    assert not sharing.in_workers


def test_one_worker_is_the_command_itself() -> None:
    sharing = parse_sharing("2/3", 1, None, {})
    assert sharing == Sharing((Shard(2, 3),))
    assert sharing.shard == Shard(2, 3)
    assert not sharing.in_workers


def test_workers_divide_the_shard_of_their_machine() -> None:
    assert parse_sharing("2/3", 2, None, {}) == Sharing((Shard(3, 6), Shard(4, 6)))
    everything = [shard for machine in ("1/2", "2/2") for shard in parse_sharing(machine, 3, None, {}).shards]
    assert everything == Shard.all(6)


def test_each_device_has_a_worker() -> None:
    assert parse_sharing(None, None, "0, 3", {}) == Sharing((Shard(1, 2), Shard(2, 2)), ("0", "3"))
    one = parse_sharing(None, None, "1", {})
    assert (one.devices, one.in_workers) == (("1",), True)
    with pytest.raises(UsageError, match="each device of --devices has a worker"):
        parse_sharing(None, 2, "0,1", {})


def test_devices_are_counted_among_those_that_are_visible() -> None:
    assert parse_sharing(None, None, "1,0", {"CUDA_VISIBLE_DEVICES": "2,5"}).devices == ("5", "2")
    with pytest.raises(UsageError, match="not among the 2 devices of CUDA_VISIBLE_DEVICES"):
        parse_sharing(None, None, "0,2", {"CUDA_VISIBLE_DEVICES": "2,5"})


@pytest.mark.parametrize("devices", ["0,0", "", "0;1", "0,,1"])
def test_a_list_that_names_no_devices_is_refused(devices: str) -> None:
    with pytest.raises(UsageError, match="is not a list of devices"):
        parse_sharing(None, None, devices, {})


@pytest.mark.parametrize("backend", [None, "auto", "winograd", "openvino", "torch"])
def test_devices_need_a_backend_of_the_gpu(backend: str | None) -> None:
    sharing = parse_sharing(None, None, "0,1", {})
    with pytest.raises(UsageError, match="these are GPUs"):
        check_sharing(sharing, backend, None, sheet=False)
    check_sharing(sharing, "tensorrt", None, sheet=False)
    with pytest.raises(UsageError, match="tensorrt computes on a GPU"):
        check_sharing(sharing, "tensorrt", 2, sheet=False)


def test_contact_sheets_need_one_process() -> None:
    with pytest.raises(UsageError, match="its rows come from one process"):
        check_sharing(Sharing((Shard(1, 2),)), None, None, sheet=True)


def test_a_worker_gets_the_same_command_without_the_options_that_share() -> None:
    line = ["fuse", "in", "--workers", "2", "-o", "out", "--shard=1/2", "--devices", "0,1", "--seed", "3"]
    assert drop_options(line, ("--shard", "--workers", "--devices")) == ["fuse", "in", "-o", "out", "--seed", "3"]
    assert drop_options(["-o", "out", "--", "--workers"], ("--workers",)) == ["-o", "out", "--", "--workers"]
