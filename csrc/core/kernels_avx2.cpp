// Haswell, Zen and later.
#define SYMPLECTIC_CV_KERNELS avx2_kernels
#define SYMPLECTIC_CV_NAME "avx2"
#define SYMPLECTIC_CV_BYTES 32
#include "kernels.inc.hpp"
