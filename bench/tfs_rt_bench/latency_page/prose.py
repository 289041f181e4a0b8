"""Definitions of the measures in a bench's report."""

from __future__ import annotations

DEFINITIONS = (
    (
        "Job",
        "A batch of cases, from decoded images in memory to results in memory: condition, all steps, conversion to"
        " 8 bits. Process and model are loaded before, and a first job that warms up is not counted. A batch"
        " larger than the cases takes them again from the first on.",
    ),
    (
        "Step",
        "One call of the network alone, timed inside the jobs, over the number of images in it.",
    ),
    (
        "Minimum, median, p95",
        "Of the timed runs; all rows take turns, round after round, so that what disturbs the machine disturbs "
        "all. The minimum is what the machine can do undisturbed, and ratios are taken of minima; the median is "
        "what to expect; 95 % of the runs took no longer than p95.",
    ),
    (
        "Per case, throughput",
        "The minimum of a job over its batch, and the cases a second that this gives.",
    ),
    (
        "Overhead, loop",
        "The share of a job's time that is spent outside the network, and the same of the time from the end of the "
        "first step to that of the last, which leaves out what happens once a job (condition, first noise, "
        "result); medians over jobs.",
    ),
    (
        "Cores busy",
        "Processor seconds over wall seconds of a job: threads are as each backend sets them.",
    ),
    (
        "Cold start",
        "A new process, from its start to its first image: imports, loading and checking the model, and whatever "
        "is compiled at that time.",
    ),
    (
        "Peak memory",
        "The most that the row's process ever held in memory (resident set). 1 MB is 10^6 bytes.",
    ),
    (
        "Fidelity",
        "How near the images are to those of the PyTorch reference in float32, with the same noise and the same "
        "recipe: PSNR over all pixels of 8-bit RGB images (peak 255; written up to 99 dB; 'equal' if no pixel "
        "differs), and mean SSIM. It tells what a backend or a precision costs, not how good the model is.",
    ),
    (
        "Largest difference, bias",
        "To the same reference, in grey levels of 255: the largest of any pixel, and the mean signed difference of"
        " red, green and blue.",
    ),
    (
        "Accuracy",
        "How near the images are to ground truth, as means over cases. It tells how good model and recipe are; n/a"
        " if no ground truth was given.",
    ),
    (
        "GFLOP",
        "10^9 floating-point operations: the multiplications and additions of one step, counted from the graph as "
        "it is written. A backend that needs fewer of them for the same result (Winograd's convolution) is counted"
        " the same.",
    ),
    (
        "Compute, share of peak",
        "Counted GFLOP of a step over its minimum, and that over this machine's GEMM peak: the best float32 matrix"
        " product measured in the same run. More than 100 % is possible with fewer operations or a lower "
        "precision.",
    ),
    (
        "Roofline",
        "The dashed line: the time of a step if all of it ran at the GEMM peak.",
    ),
    (
        "Bandwidth",
        "A copy too large for any cache, bytes read and written.",
    ),
    (
        "Peer, as it comes",
        "The same network and weights in PyTorch, ONNX Runtime or OpenVINO as their first examples run it, with "
        "nothing set: threads, precision and kernels are the library's choice, and a batch is one call. The loop "
        "around it is this runtime's, with the same tables and noise, so that images can be compared.",
    ),
    (
        "Front",
        "Rows of which no other is both at least as fast and at least as good (to 0.01 dB), and better in one of the"
        " two.",
    ),
    (
        "† Extrapolated",
        "The whole job was not run: the stated steps were timed, and the others counted at their mean, since every"
        " step of a job costs the same.",
    ),
)
