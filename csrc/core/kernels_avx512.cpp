// Skylake-X, Zen 4 and later.
#define SYMPLECTIC_CV_KERNELS avx512_kernels
#define SYMPLECTIC_CV_NAME "avx512"
#define SYMPLECTIC_CV_BYTES 64
#include "kernels.inc.hpp"
