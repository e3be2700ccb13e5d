#include <cstdlib>
#include <cstring>

#include "kernels.hpp"

namespace symplectic_cv {

const Kernels& choose_kernels(const char* limit) {
    if (limit == nullptr) limit = std::getenv("SYMPLECTIC_CV_INSTRUCTIONS");
#if defined(SYMPLECTIC_CV_X86)
    const bool any = limit == nullptr;
    if ((any || std::strcmp(limit, "avx512") == 0) && __builtin_cpu_supports("avx512f") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("fma"))
        return avx512_kernels();
    if ((any || std::strcmp(limit, "baseline") != 0) && __builtin_cpu_supports("avx2") &&
        __builtin_cpu_supports("fma"))
        return avx2_kernels();
#else
    (void)limit;
#endif
    return baseline_kernels();
}

}  // namespace symplectic_cv
