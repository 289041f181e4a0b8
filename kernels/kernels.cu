// All kernels in one translation unit, which is compiled with --fmad=false (see README.md).

#include "resample.cu"
#include "normalise.cu"
#include "start.cu"
#include "select.cu"
#include "update.cu"
#include "advance.cu"
#include "finish.cu"
