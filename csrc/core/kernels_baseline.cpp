// SSE2 on x86-64, NEON on aarch64: what every machine of its kind has.
#define SYMPLECTIC_CV_KERNELS baseline_kernels
#define SYMPLECTIC_CV_NAME "baseline"
#define SYMPLECTIC_CV_BYTES 16
#include "kernels.inc.hpp"
