"""Fixed sentences of the page on the spread of samples."""

from __future__ import annotations

from tfs_rt.batch.samples import RAW_STEPS, SPREAD_TOP

NOT = """## What this is not

* **Not a probability**, and no interval in which the truth lies with any: it is the standard deviation of this model's
  own samples.
* **Not the risk of invented structure** on images unlike those it was trained on (another scanner, organ or colour
  map): all samples are made by one network, and what it has wrong in all of them does not spread.
* **Not a registration error.** Sources that do not lie on each other are fused as they are given, each sample alike.
* **Not a confidence for diagnosis.** Research use only; not a medical device.

Black does not mean "right": it means that the samples agree."""
DEFINITION = f"""`tfs-rt fuse --samples K` fuses a case K times with different noise. The result is the mean
image, each level rounded to the nearest (halves to even); the spread is the standard deviation over the samples
(divisor K - 1), root mean square of R, G and B, in levels of 0..255. Heat maps have one scale, log2(1 + spread), from
black (0) to white ({SPREAD_TOP} levels and more); the raw map is a 16-bit grey TIFF in 1/{RAW_STEPS} level. The first
sample is the one result of `--samples 1`. Samples are 8-bit images: a spread under about 0.3 level is mostly their
rounding."""
HOW = """## How it was measured

Error: root mean square over R, G and B of mean image - ground truth (the BitonicX fusion at full resolution), pixel by
pixel, in levels of 0..255. The patients of both splits are none that the shipped models were trained on, but the
validation split chose their weights. All figures but "whole image" and PSNR are of the pixels inside the head: black
background has neither spread nor error, and flatters. "Edges" is what needs no samples: the magnitude of the gradient
(central differences of luminance) of the same mean image. Correlations are per image: median (smallest to largest);
the cases of one patient are alike, so that this range says little of other patients.
AUSE: area between the sparsification curve and the oracle's, as a share of the RMS error, 0 at best; median. `ddpm` is
`ddim` with eta = 1."""
TEXTS = {
    "order": """## Does it find the errors?

Spearman and Pearson: spread against error, higher is better; AUSE: lower is better. Bold: the better of spread and
edges.""",
    "left": """The RMS error that is left, as a share of that of all pixels, when the 10, 20 and 50 % with the largest
spread (gradient, error) are taken away; mean over the cases. A predictor that knows nothing leaves 1.""",
    "size": """## Is it as large as the error?

RMS error over RMS spread would be sqrt(1 + 1/K) if the truth were like one sample more. The factor is that ratio on the
validation split; "after the factor" is what is left of the ratio on the test split once the spread is multiplied by it
(1 is right), in all and in the bin, of ten by spread, that it fits worst.""",
    "psnr": """## What the mean of the samples is worth

PSNR in dB over the whole image, mean over the cases. K samples cost K times one.""",
    "count": """## How many samples

With the recipe that orders best on the validation split.""",
}


WHY = """The shipped models were trained to predict x_0 at noise-to-signal ratios from 80 down to 2, where the noisy
image tells next to nothing: whatever the noise and the number of steps, the network answers with about the mean of what
the inputs leave open, and its samples differ little. Where it is wrong, it is wrong in all of them. `--spacing t`, down
to no noise, is outside of that range and refused. Eight steps of `ddpm` at x4 spread as four do (measured apart, by
`--steps 8 --sampler ddpm`). A model whose chain goes on to little noise, as the published ones' does, may spread more:
what its spread is worth must be measured, by this command with `--model`, before it is looked at."""
