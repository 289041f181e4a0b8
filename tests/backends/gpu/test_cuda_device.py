"""The CUDA device on the fake GPU (`fake_gpu`): nothing here has seen a real one."""

from __future__ import annotations

import ctypes
import gc
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
import pytest

from support import fake_gpu
from support.device_arrays import download_array, upload_array
from tfs_rt.backends.gpu.device import Buffer, Device
from tfs_rt.errors import EnvironmentFault

HERE = "backends.gpu.test_cuda_device"
CUBIN = b"\x7fELF of nothing: the fake driver finds kernels by name"
KERNELS = ("mix", "advance", "spill")
STEPS = 7
COUNT = 300
SCALE = 0.5
Scenario = Callable[[Device], Any]
scenarios: dict[str, Scenario] = {}
misuses: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    scenarios[function.__name__] = function
    return function


def misuse(function: Scenario) -> Scenario:
    misuses[function.__name__] = function
    return function


# --------------------------------------------------------------------------- in the process with the fake driver


def everything() -> dict[str, Any]:
    """All scenarios and misuses, on one device: what a misuse leaves behind would fail the next."""
    device = new_device()
    told = {name: play(device) for name, play in scenarios.items()}
    assert not fake_gpu.report(), fake_gpu.report()
    gc.collect()
    told["left"] = [fake_gpu.counter("live_bytes"), fake_gpu.counter("pinned_bytes")]
    for name, play in misuses.items():
        fake_gpu.reset()
        told[name] = {"raised": outcome(lambda play=play: play(device)), "told": "\n".join(fake_gpu.report())}
    told["afterwards"] = captured_loop(device)
    return told


def new_device() -> Device:
    from tfs_rt.backends.gpu.cuda_device import CudaDevice

    device = CudaDevice()
    device.load(CUBIN, KERNELS)
    return device


def opening(ordinal: int = 0) -> dict[str, Any]:
    from tfs_rt.backends.gpu.cuda_device import CudaDevice

    try:
        device = CudaDevice(ordinal)
    except EnvironmentFault as fault:
        return {"subject": fault.subject, "reason": fault.reason, "remedy": fault.remedy}
    return {"cc": device.compute_capability, "driver": device.driver, "name": device.name}


def outcome(act: Callable[[], Any]) -> str:
    try:
        return str(act())
    except Exception as error:
        return f"{type(error).__name__}: {error}"


def ramp() -> np.ndarray:
    return np.arange(COUNT, dtype=np.float32)


def step_counter(device: Device, value: int) -> Buffer:
    return upload_array(device, np.array([value], np.int32))


def value_of(device: Device, step: Buffer) -> int:
    return int(download_array(device, step, np.zeros(1, np.int32))[0])


def step_of(device: Device, x: Buffer, step: Buffer) -> None:
    device.launch("mix", COUNT, x, step, np.float32(SCALE), np.int32(COUNT))
    device.launch("advance", 1, step)


def raw() -> ctypes.CDLL:
    return ctypes.CDLL("libcuda.so.1")


def raw_error(code: int) -> str:
    name = ctypes.c_char_p()
    raw().cuGetErrorName(code, ctypes.byref(name))
    return (name.value or b"").decode()


def handle(value: int) -> ctypes.c_uint64:
    return ctypes.c_uint64(value)


@scenario
def round_trip(device: Device) -> list[bool]:
    values = np.random.default_rng(0).standard_normal((3, 5)).astype(np.float32)
    pinned = device.pinned(values.shape, values.dtype)
    pinned[:] = values
    pageable = np.empty_like(values)
    device.download(pageable, upload_array(device, values))
    return [
        bool((download_array(device, upload_array(device, pinned), values) == values).all()),
        bool((pageable == values).all()),
        pinned.flags.writeable and pinned.flags.c_contiguous,
    ]


@scenario
def nothing_runs_before_the_wait(device: Device) -> list[bool]:
    target = device.pinned(COUNT, np.float32)
    target[:] = -1
    buffer = upload_array(device, ramp())
    device.download(target, buffer)
    early = bool((target == -1).all())
    device.synchronize()
    return [early, bool((target == ramp()).all())]


@scenario
def scalars_and_buffers(device: Device) -> list[float]:
    x = upload_array(device, ramp())
    step = step_counter(device, 2)
    device.launch("mix", COUNT, x, step, np.float32(10), np.int32(3))
    return download_array(device, x, ramp())[:5].tolist()


@scenario
def captured_loop(device: Device) -> dict[str, Any]:
    def loop(enqueue: Callable[[Callable[[], None]], Callable[[], None]]) -> np.ndarray:
        x = upload_array(device, ramp())
        step = step_counter(device, 0)
        one_step = enqueue(lambda: step_of(device, x, step))
        for _ in range(STEPS):
            one_step()
        assert value_of(device, step) == STEPS
        return download_array(device, x, ramp())

    straight = loop(lambda body: body)
    fake_gpu.reset()
    captured = loop(device.capture)
    names = ("launches", "graph_launches", "graph_nodes_replayed")
    same = bool((straight == captured).all())
    return {"values": captured.tolist(), "same": same, "counts": [fake_gpu.counter(name) for name in names]}


@scenario
def the_graph_outlives_the_capture(device: Device) -> int:
    step = step_counter(device, 0)
    replay = device.capture(lambda: device.launch("advance", 1, step))
    gc.collect()
    replay()
    return value_of(device, step)


@scenario
def a_foreign_enqueue(device: Device) -> list[int]:
    step = step_counter(device, 0)

    def body() -> None:
        assert not raw().cuMemsetD32Async(handle(step.pointer), 40, ctypes.c_size_t(1), handle(device.stream))
        device.launch("advance", 1, step)

    replay = device.capture(body)
    before = value_of(device, step)
    replay()
    return [before, value_of(device, step)]


@scenario
def wrong_arguments(device: Device) -> dict[str, str]:
    x = upload_array(device, ramp())
    step = step_counter(device, 0)
    given: dict[str, tuple[Any, ...]] = {
        "float": (x, step, 0.5, np.int32(COUNT)),
        "int": (x, step, np.float32(0.5), COUNT),
        "array": (ramp(), step, np.float32(0.5), np.int32(COUNT)),
        "wide": (x, step, np.float64(0.5), np.int32(COUNT)),
        "few": (x, step, np.float32(0.5)),
    }
    return {name: outcome(lambda a=a: device.launch("mix", COUNT, *a)) for name, a in given.items()}


@scenario
def wrong_copies(device: Device) -> dict[str, str]:
    buffer = device.empty(8)
    values = np.zeros(4, np.float32)
    fixed = np.zeros(2, np.float32)
    fixed.flags.writeable = False
    return {
        "upload": outcome(lambda: device.upload(buffer, values)),
        "download": outcome(lambda: device.download(values[:1], buffer)),
        "strided": outcome(lambda: device.upload(buffer, values[::2])),
        "read-only": outcome(lambda: device.download(fixed, buffer)),
    }


@scenario
def an_exception_in_a_capture(device: Device) -> dict[str, Any]:
    step = step_counter(device, 5)

    def body() -> None:
        device.launch("advance", 1, step)
        raise KeyError("mine")

    raised = outcome(lambda: device.capture(body))
    value = value_of(device, step)
    replay = device.capture(lambda: device.launch("advance", 1, step))
    replay()
    return {"raised": raised, "not run": value, "next": value_of(device, step)}


@scenario
def out_of_memory(device: Device) -> dict[str, str]:
    tried = {
        "device": outcome(lambda: device.empty(1 << 40)),
        "pinned": outcome(lambda: device.pinned((1 << 20, 1 << 20), np.uint8)),
    }
    return tried | {"after": outcome(lambda: round_trip(device))}


@misuse
def a_stream_synchronised_in_a_capture(device: Device) -> None:
    device.capture(device.synchronize)


@misuse
def the_context_synchronised_in_a_capture(device: Device) -> None:
    device.capture(lambda: raw().cuCtxSynchronize())


@misuse
def an_event_queried_in_a_capture(device: Device) -> None:
    from cuda.core import Stream

    event = Stream.from_handle(device.stream).record()
    device.capture(lambda: event.is_done)


@misuse
def an_allocation_in_a_capture(device: Device) -> None:
    device.capture(lambda: device.empty(16))


@misuse
def a_free_in_a_capture(device: Device) -> None:  # which fails, so these 16 bytes are never given back
    held = [device.empty(16)]
    device.capture(held.clear)


@misuse
def a_raw_free_in_a_capture(device: Device) -> str:
    buffer = device.empty(16)
    codes = []
    told = outcome(lambda: device.capture(lambda: codes.append(raw().cuMemFree_v2(handle(buffer.pointer)))))
    return f"{raw_error(codes[0])} {told}"


@misuse
def a_synchronous_copy_in_a_capture(device: Device) -> str:
    buffer = device.empty(16)
    values = np.zeros(4, np.float32)
    codes = []
    pointer = handle(buffer.pointer)
    source = handle(values.ctypes.data)
    told = outcome(lambda: device.capture(lambda: codes.append(raw().cuMemcpyHtoD_v2(pointer, source, handle(16)))))
    return f"{raw_error(codes[0])} {told}"


@misuse
def a_pageable_upload_in_a_capture(device: Device) -> None:
    buffer = device.empty(16)
    device.capture(lambda: device.upload(buffer, np.zeros(4, np.float32)))


@misuse
def a_copy_out_of_range(device: Device) -> str:
    buffer = device.empty(16)
    values = np.zeros(5, np.float32)
    stream = handle(device.stream)
    return raw_error(raw().cuMemcpyHtoDAsync_v2(handle(buffer.pointer), handle(values.ctypes.data), handle(20), stream))


@misuse
def a_freed_buffer_as_an_argument(device: Device) -> None:
    device.launch("advance", 1, np.uint64(device.empty(4).pointer))


@misuse
def a_host_array_as_an_argument(device: Device) -> None:
    device.launch("advance", 1, np.uint64(ramp().ctypes.data))


@misuse
def a_pointer_past_the_end(device: Device) -> None:
    buffer = device.empty(4)
    device.launch("advance", 1, np.uint64(buffer.pointer + 4))


@misuse
def a_buffer_freed_under_a_graph(device: Device) -> None:
    held = [step_counter(device, 0)]
    replay = device.capture(lambda: device.launch("advance", 1, *held))
    replay()
    held.clear()
    replay()


@misuse
def a_kernel_past_the_end(device: Device) -> None:
    buffer = device.empty(12)
    device.launch("spill", 1, buffer, np.int32(3))
    device.synchronize()


@misuse
def a_launch_of_no_block(device: Device) -> str:
    return raw_launch(0, 256, device.stream)


@misuse
def a_launch_of_too_large_a_block(device: Device) -> str:
    return raw_launch(1, 1025, device.stream)


@misuse
def a_launch_on_the_default_stream(device: Device) -> str:
    return raw_launch(1, 256, 0)


def raw_launch(grid: int, block: int, stream: int) -> str:
    module = ctypes.c_void_p()
    function = ctypes.c_void_p()
    assert not raw().cuModuleLoadData(ctypes.byref(module), CUBIN)
    assert not raw().cuModuleGetFunction(ctypes.byref(function), module, b"advance")
    null = ctypes.c_void_p()
    return raw_error(raw().cuLaunchKernel(function, grid, 1, 1, block, 1, 1, 0, ctypes.c_void_p(stream), null, null))


@misuse
def a_file_that_is_no_cubin(device: Device) -> None:
    device.load(b"<html>", ["advance"])


@misuse
def a_kernel_that_is_not_there(device: Device) -> None:
    device.load(CUBIN, ["advanced"])


# ------------------------------------------------------------------------------------------------------ the tests


@cache
def told() -> dict[str, Any]:
    kernels = fake_gpu.compiled(fake_gpu.SUPPORT / "fake_cuda" / "device_kernels.cpp")
    return fake_gpu.run(f"{HERE}:everything", kernels=kernels)


def test_what_is_uploaded_is_downloaded() -> None:
    assert told()["round_trip"] == [True, True, True]


def test_nothing_is_copied_before_somebody_waits() -> None:
    assert told()["nothing_runs_before_the_wait"] == [True, True]


def test_a_kernel_gets_its_buffers_and_scalars() -> None:
    assert told()["scalars_and_buffers"] == [2, 12, 22, 3, 4]


def test_replaying_a_captured_step_is_running_it() -> None:
    x = np.arange(COUNT, dtype=np.float32)
    for step in range(STEPS):
        x = np.float32(SCALE) * x + np.float32(step)  # exact: halves of integers
    loop = told()["captured_loop"]
    assert loop["values"] == x.tolist()
    assert loop["same"]
    assert loop["counts"] == [2, STEPS, 2 * STEPS]


def test_a_replay_needs_nothing_but_the_function_and_the_buffers() -> None:
    assert told()["the_graph_outlives_the_capture"] == 1


def test_what_others_enqueue_on_the_stream_is_captured() -> None:
    assert told()["a_foreign_enqueue"] == [0, 41]


@pytest.mark.parametrize("kind", ["float", "int", "array"])
def test_a_kernel_takes_nothing_without_a_width(kind: str) -> None:
    assert told()["wrong_arguments"][kind].startswith("TypeError: a kernel takes buffers and NumPy scalars")


@pytest.mark.parametrize("kind", ["wide", "few"])
def test_arguments_fit_the_compiled_kernel(kind: str) -> None:
    assert told()["wrong_arguments"][kind].startswith("TypeError: mix takes parameters of [8, 8, 4, 4] bytes")


def test_copies_fit() -> None:
    assert all(error.startswith("ValueError") for error in told()["wrong_copies"].values())


def test_an_exception_drops_the_capture_and_leaves_the_device() -> None:
    assert told()["an_exception_in_a_capture"] == {"raised": "KeyError: 'mine'", "not run": 5, "next": 6}


def test_too_little_memory_is_said() -> None:
    outcome = told()["out_of_memory"]
    for kind in ("device", "pinned"):
        assert outcome[kind] == "MemoryError: tfs-rt fake GPU has no room for it"
    assert outcome["after"] == "[True, True, True]"


UNSUPPORTED = "CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED"
BROKEN = "invalidated"  # what cuda-core says at the end of a capture, if nobody said anything before
ILLEGAL = "CUDA_ERROR_ILLEGAL_ADDRESS"
CAUGHT = {  # what is raised, and what the report says
    "a_stream_synchronised_in_a_capture": (UNSUPPORTED, "synchronisation of the stream during capture"),
    "the_context_synchronised_in_a_capture": (BROKEN, "synchronisation of the context during capture"),
    "an_event_queried_in_a_capture": (UNSUPPORTED, "event query during capture"),
    "an_allocation_in_a_capture": (UNSUPPORTED, "allocation during capture"),
    "a_free_in_a_capture": (BROKEN, "during capture"),
    "a_raw_free_in_a_capture": (UNSUPPORTED, "free during capture"),
    "a_synchronous_copy_in_a_capture": (UNSUPPORTED, "synchronous copy during capture"),
    "a_pageable_upload_in_a_capture": (UNSUPPORTED, "copy of pageable memory during capture"),
    "a_copy_out_of_range": ("CUDA_ERROR_INVALID_VALUE", "copy to of 20 bytes out of range: the allocation has 16"),
    "a_freed_buffer_as_an_argument": (ILLEGAL, "advance's parameter 0 points into freed memory"),
    "a_host_array_as_an_argument": (ILLEGAL, "advance's parameter 0 points outside any allocation"),
    "a_pointer_past_the_end": (ILLEGAL, "advance's parameter 0 points past its allocation"),
    "a_buffer_freed_under_a_graph": (ILLEGAL, "advance's parameter 0 points into freed memory"),
    "a_kernel_past_the_end": (ILLEGAL, "spill wrote outside the buffer of its parameter 0"),
    "a_launch_of_no_block": ("CUDA_ERROR_INVALID_VALUE", "launch of advance as 0 blocks of 256"),
    "a_launch_of_too_large_a_block": ("CUDA_ERROR_INVALID_VALUE", "launch of advance as 1 blocks of 1025"),
    "a_launch_on_the_default_stream": ("CUDA_ERROR_INVALID_HANDLE", "launch of advance on a default stream"),
    "a_file_that_is_no_cubin": ("EnvironmentFault: tfs-rt fake GPU: cannot load the kernels", "neither a cubin nor"),
    "a_kernel_that_is_not_there": ("compile the kernels for compute capability 8.9", "kernel advanced"),
}


@pytest.mark.parametrize("name", misuses)
def test_the_fake_catches(name: str) -> None:
    raised, said = CAUGHT[name]
    assert raised in told()[name]["raised"]
    assert said in told()[name]["told"]


def test_a_device_that_was_misused_works_on() -> None:
    assert told()["afterwards"] == told()["captured_loop"]


def test_all_memory_is_given_back() -> None:
    assert told()["left"] == [0, 0]


def test_a_device_says_what_it_is() -> None:
    env = {"TFS_FAKE_CUDA_CC": "12.0", "TFS_FAKE_CUDA_DRIVER": "13020", "TFS_FAKE_CUDA_DEVICES": "2"}
    expected = {"cc": "12.0", "driver": "13.2", "name": "tfs-rt fake GPU"}
    assert fake_gpu.run(f"{HERE}:opening", env=env, ordinal=1) == expected


def test_no_driver_is_said_with_a_remedy() -> None:
    fault = fake_gpu.run(f"{HERE}:opening", driver=False)
    assert fault["reason"] == "there is no NVIDIA driver here"
    assert fault["remedy"].startswith("install NVIDIA's driver 580 or newer")


def test_an_old_driver_is_said_with_a_remedy() -> None:
    fault = fake_gpu.run(f"{HERE}:opening", env={"TFS_FAKE_CUDA_DRIVER": "12040"})
    assert fault["reason"] == "the driver speaks CUDA 12.4, 13.0 is needed"
    assert fault["remedy"].startswith("install NVIDIA's driver 580 or newer")


@pytest.mark.parametrize(
    ("count", "ordinal", "reason"),
    [(0, 0, "CUDA_ERROR_NO_DEVICE"), (2, 2, "there is no such GPU, only 2"), (2, -1, "there is no such GPU, only 2")],
)
def test_a_gpu_that_is_not_there_is_said_with_a_remedy(count: int, ordinal: int, reason: str) -> None:
    fault = fake_gpu.run(f"{HERE}:opening", env={"TFS_FAKE_CUDA_DEVICES": str(count)}, ordinal=ordinal)
    assert fault["subject"] == f"GPU {ordinal}"
    assert reason in fault["reason"]
    assert "CUDA_VISIBLE_DEVICES" in fault["remedy"]
